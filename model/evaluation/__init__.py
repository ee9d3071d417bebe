"""How good localizations are: with a truth, against the limit, or by repetition."""
