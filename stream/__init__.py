"""The vocabulary of frames and localizations, and how they travel and are kept."""
