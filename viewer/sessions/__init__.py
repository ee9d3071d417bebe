"""Sessions that run and sessions that are over, as documents to look at."""
