"""From the density of emitters to the power of the activation laser.

Upper imports lower: ``feedback`` > ``guard``, ``target``, ``stop_rules``,
``settling`` > ``laws``.
"""
