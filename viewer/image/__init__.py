"""From positions to pixels, without a window: tiles, reconstruction, colours, files.

reconstruction > picture_file > sheet > colouring > layers; gaussians > viewport. The
other modules import none of these.
"""
