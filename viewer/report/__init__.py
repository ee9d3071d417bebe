"""The page and the plots that a finished session leaves behind."""
