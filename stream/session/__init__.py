"""A session: its settings, processes, control file, target, alarms and end.

``end`` and ``target_file`` import the others, which stand alone.
"""
