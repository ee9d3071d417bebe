"""From a configuration to a bundle: simulation, networks, loss. Needs torch."""
