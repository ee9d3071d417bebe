"""What users and the documentation import, and where from."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("liveloc.stream", "liveloc.model", "liveloc.bridge", "liveloc.viewer")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "examples").glob("*.py")),
]


def imports_of(page):
    """Return module and name of everything of ours that a page imports."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".py":
        blocks = [text]
    else:
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for node in (node for block in blocks for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "liveloc"
        ):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (
                (alias.name, "")
                for alias in node.names
                if alias.name.startswith("liveloc")
            )


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_there(room):
    package = importlib.import_module(room)
    assert len(package.__all__) > 5
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert name in dir(package)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = package.nonsense


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documents_import_public_names_only(page):
    for module, name in imports_of(page):
        assert module in ROOMS, f"{page.name} imports from {module}"
        assert name in importlib.import_module(module).__all__, f"{module}.{name}"


def resolved(name):
    """Return the module, class or function that a dotted name stands for."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(("liveloc", *parts[:count])))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            found = getattr(found, attribute)
        return found
    raise AssertionError(f"liveloc has no {name}")


@pytest.mark.parametrize(
    "page",
    [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md"))],
    ids=lambda page: page.name,
)
def test_names_of_the_code_in_documents_are_there(page):
    named = re.findall(
        r"`(?:liveloc\.)?((?:stream|model|bridge|viewer)\.[a-z]\w*(?:\.\w+)*)`",
        page.read_text(encoding="utf-8"),
    )
    files = ("jsonl", "json", "yaml", "png", "onnx", "py")
    for name in named:
        if name.rsplit(".")[-1] not in files:
            resolved(name)


def test_documents_show_imports_at_all():
    assert len({found for page in PAGES for found in imports_of(page)}) > 10


def test_importing_every_room_loads_no_library_of_a_room():
    heavy = (
        "numpy",
        "zmq",
        "onnxruntime",
        "torch",
        "pymmcore_plus",
        "vispy",
        "pyarrow",
    )
    program = (
        f"import sys, {', '.join(ROOMS)}\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
