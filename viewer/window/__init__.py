"""The viewer's window: Qt and vispy are imported here.

application > main_window > panels, tasks > canvas > widgets.
"""
