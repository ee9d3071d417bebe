"""Widgets that any panel can use."""
