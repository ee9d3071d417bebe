"""How light becomes counts: PSFs, cameras, and the limit that both set."""
