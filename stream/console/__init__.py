"""A session as the user at a terminal meets it: options, launch, status, doctor.

``launch``, ``options`` and ``sending`` import ``terminal``; ``examine`` stands alone.
"""
