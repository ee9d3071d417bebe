"""From the density of emitters to the power of the activation laser."""
