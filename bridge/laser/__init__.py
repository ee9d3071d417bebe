"""Lasers that go dark when in doubt: guard, interlock and a backup shutter.

Upper imports lower: ``interlock`` > ``laser`` > ``shutter``.
"""
