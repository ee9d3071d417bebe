"""From positions to pixels, without a window: tiles, reconstruction, colours, files."""
