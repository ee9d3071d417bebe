"""Files read and written with care: bounded sizes, whole lines, room on the disk."""
