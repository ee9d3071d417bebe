"""Files read and written with care: bounded sizes, whole lines, room on the disk.

``session_folder`` names every file of a session. ``yaml_file`` reads through
``input_file``; the others stand alone.
"""
