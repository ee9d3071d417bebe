"""What an installation contains, and what it needs."""

import importlib
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import liveloc

ROOT = Path(__file__).parents[1]
ROOMS = ("stream", "model", "bridge", "viewer")
INSTALLED = Path(liveloc.__file__).parent


def modules(folder):
    """Modules and data of the package, relative to `folder`."""
    files = [folder / "__init__.py", folder / "__main__.py", folder / "py.typed"]
    for room in ROOMS:
        files += (folder / room).rglob("*.py")
        files += (folder / room).rglob("*.liveloc")
        files += (folder / room).rglob("*.yaml")
    return {path.relative_to(folder).as_posix() for path in files if path.exists()}


def test_every_file_of_the_tree_is_installed():
    assert modules(INSTALLED) == modules(ROOT)


def test_only_two_modules_lie_in_the_root():
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_every_package_of_the_tree_is_listed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {"liveloc"} | {
        ".".join(("liveloc", *path.parent.relative_to(ROOT).parts))
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert listed == found


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == liveloc.__version__
    assert version("liveloc") == liveloc.__version__


def test_help_loads_neither_torch_nor_qt_nor_a_camera():
    code = (
        "import sys, liveloc.__main__\n"
        "heavy = {'torch', 'PySide6', 'vispy', 'pymmcore_plus', 'onnxruntime', 'zmq'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_everything_a_room_offers_can_be_imported(room):
    module = importlib.import_module(f"liveloc.{room}")
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_the_camera_computer_loads_no_inference():
    code = (
        "import sys, liveloc.bridge\n"
        "sys.exit(', '.join(sorted({'onnxruntime', 'torch'} & set(sys.modules))) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_live_session_needs_no_torch():
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import liveloc.model.engine, liveloc.model.fitting, liveloc.bridge.bridge\n"
        "import liveloc.viewer\n"
        "from liveloc.model.backend import OnnxBackend\n"
        "from liveloc.model.bundle import load_bundle\n"
        "OnnxBackend(load_bundle('gaussian-2d'))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
