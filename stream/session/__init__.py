"""A session: its settings, processes, control file, target, alarms and end."""
