"""Frames on their way from a bridge to an engine, with credit, losses named.

``sender`` and ``receiver`` are the two ends. Their threads speak the protocol of
``messages``, packed by ``wire``; ``accounting`` names every gap.
"""
