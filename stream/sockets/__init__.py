"""Where sockets bind and who may connect: endpoints, ports, session keys, limits."""
