"""Control laws: a reading of the density in, a power out. ``registry`` names them."""
