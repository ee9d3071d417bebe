"""How fast the viewer draws and follows, beside other programs."""
