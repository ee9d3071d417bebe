"""Where sockets bind and who may connect: endpoints, ports, session keys, limits.

``admission``, ``options`` and ``ports`` import ``endpoints``, ``limits``,
``session_key`` and ``waker``, which stand alone.
"""
