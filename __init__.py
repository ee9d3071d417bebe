"""liveloc: live single-molecule localization while the microscope acquires."""

__version__ = "0.1.0"
