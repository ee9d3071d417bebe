"""How fast the viewer draws and follows, beside other programs.

The modules do not import each other. `measure` imports Qt, as `window` does: it times
Qt's loop.
"""
