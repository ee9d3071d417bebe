"""Control laws: a reading of the density in, a power out.

Upper imports lower: ``registry`` (laws by name) > one module a law > ``controller``.
``user_process`` runs a user's function in a process of its own and imports nothing.
"""
