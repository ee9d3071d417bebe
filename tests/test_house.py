"""The house stays one to live in: small rooms, plain English."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    ROOT / "__main__.py",
    *(
        path
        for room in ("stream", "model", "bridge", "viewer")
        for path in sorted((ROOT / room).rglob("*.py"))
    ),
]
MOST_FILES = 17  # Python files that one folder may hold
# These read as translated, and each has a better word.
RULED_OUT = re.compile(
    r"\A(?:Give|Gives|Say|Tell)\b"  # Return, Send, Describe
    r"|(?i:\b(?:somebody|nobody|told|tells?|news|hears?|heard)\b"
    r"|of all of them|as set; 1: none|if not said)",
)


def test_no_folder_holds_more_files_than_a_reader_can_take_in():
    folders = Counter(path.parent for path in SOURCES)
    assert len(folders) > 20
    assert not {f for f, files in folders.items() if files > MOST_FILES}


def texts(path):
    """Return line and text of every string with a space in it: no keys, no names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if " " in node.value.strip():
                yield node.lineno, node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_text_reads_as_translated(path):
    found = [
        f"line {line}: {match[0]!r} in {text.strip()[:60]!r}"
        for line, text in texts(path)
        if (match := RULED_OUT.search(text))
    ]
    assert not found, "\n".join(found)
