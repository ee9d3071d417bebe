"""From frames to localizations: physics, networks, training, the engine."""
