"""A session's folder: the name of everything in it, and how it is made."""

from __future__ import annotations

from pathlib import Path

from ..errors import SettingsError


class SessionFolder:
    """Where everything of a session is, whether it exists or not.

    Attributes
    ----------
    path : Path
        The folder.
    settings, camera : Path
        ``session.yaml`` as run, and the camera's calibration that it names.
    recording : Path
        Folder of the recorded frames.
    table, ledger : Path
        Localizations, and which frames they are of.
    control, target : Path
        Decisions of the controller, and the density that it was asked for.
    report, page, picture, picture_tiff : Path
        The report for programs and for people, the super-resolution image.
    bridge_result, viewer_result : Path
        What bridge and viewer wrote when they ended.
    truth : Path
        Table of the simulated emitters.
    logs : Path
        Folder of what engine, bridge and viewer printed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path = Path(path)
        self.settings, self.camera = path / "session.yaml", path / "camera.yaml"
        self.recording = path / "stream"
        self.table = path / "localizations.arrow"
        self.ledger = path / "processed.jsonl"
        self.control, self.target = path / "control.jsonl", path / "target.json"
        self.report, self.page = path / "report.json", path / "report.html"
        self.picture = path / "reconstruction.png"
        self.picture_tiff = path / "reconstruction.tif"
        self.bridge_result = path / "bridge.json"
        self.viewer_result = path / "viewer.json"
        self.truth = path / "truth.arrow"
        self.logs = path / "logs"


def make_folder(folder: Path) -> Path:
    """Make a folder for results, with those above it; return it.

    Raises
    ------
    SettingsError
        It is a file, or the system refuses it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if folder.exists() and not folder.is_dir():
            raise SettingsError(
                f"{folder} is a file; a folder is needed for the results. Choose "
                "another name."
            ) from None
        raise SettingsError(
            f"{folder} cannot be made: {error.strerror}. Choose another folder for "
            "the results."
        ) from None
    return folder
