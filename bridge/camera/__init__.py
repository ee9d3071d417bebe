"""Micro-Manager's cameras: sequences, acquisitions, and cores that others drive."""
