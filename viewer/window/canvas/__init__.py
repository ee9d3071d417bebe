"""The canvas: vispy and a raster painter show the scene."""
