"""A session as a person at a terminal meets it: options, launch, status, doctor."""
