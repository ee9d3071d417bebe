"""What the documents say can be done: commands parse, snippets run, links lead on."""

import importlib.util
import re
import shlex
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import typer
import useq
import yaml

from liveloc.__main__ import app
from liveloc.model import SplinePSF, save_psf
from liveloc.stream import LOCALIZATION, TableWriter, balance

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.rglob("*.md")),
]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SHELLS = ("bash", "sh", "bat", "", "text")
# Pages whose Python needs no microscope, and is run.
RUN = ("README.md", "docs/evaluation.md", "docs/psf.md", "docs/viewer.md")


LIVELOC = typer.main.get_command(app)


def load_reference():
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load_reference()


def name_of(page):
    return str(PurePosixPath(page.relative_to(ROOT)))


def each_page(pages):
    return pytest.mark.parametrize("page", pages, ids=name_of)


def text_of(page):
    return page.read_text(encoding="utf-8")


def blocks(page, *languages):
    """Return the code blocks of a page, without the indent of a list."""
    return [
        re.sub(f"^{indent}", "", code, flags=re.MULTILINE)
        for indent, language, code in BLOCK.findall(text_of(page))
        if language in languages
    ]


# Commands


def commands_in(shell):
    """Return the arguments of every call of liveloc in a block of a shell."""
    found = []
    for line in re.sub(r"[\\^]\n\s*", " ", shell).splitlines():
        line = line.removeprefix("$ ").replace("\\", "/")
        if "liveloc" not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # an apostrophe: what a program printed
            continue
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        start = True
        for number, word in enumerate(words):
            if start and word.rsplit("/")[-1] == "liveloc":
                ends = (n for n, w in enumerate(words) if n > number and w[0] in "&|;")
                found.append(words[number + 1 : next(ends, len(words))])
            start = word[0] in "&|;"
    return found


def parse(words, whole=True):
    """Check a command line against the real one, without running it.

    With `whole`, nothing that it needs may be missing.
    """
    command, name = LIVELOC, "liveloc"
    words = [word for word in words if word != "--help"]
    while hasattr(command, "commands") and words and words[0] != "--version":
        part = words.pop(0)
        assert part in command.commands, f"liveloc has no command {part}"
        command, name = command.commands[part], f"{name} {part}"
    if hasattr(command, "commands"):
        assert words in ([], ["--version"])
        return
    try:
        command.make_context(name, list(words))
    except Exception as error:
        if whole or type(error).__name__ == "NoSuchOption":
            raise AssertionError(f"{name} {words}: {error}") from error


@each_page(PAGES)
def test_commands_in_blocks_parse(page):
    for shell in blocks(page, *SHELLS):
        for words in commands_in(shell):
            parse(words)


@each_page(PAGES)
def test_commands_in_sentences_parse(page):
    text = BLOCK.sub("", text_of(page))
    for called in re.findall(r"`liveloc\s([^`]+)`", text):
        words = shlex.split(called)
        if words[0] != "COMMAND":
            parse(words, whole=False)


@each_page(sorted((DOCS / "examples").glob("*.py")))
def test_commands_in_examples_parse(page):
    called = [line.strip() for line in text_of(page).splitlines()]
    for words in commands_in("\n".join(c for c in called if c.startswith("liveloc "))):
        parse(words)


@pytest.mark.parametrize(
    "line",
    [
        "liveloc demo --recrod",
        "liveloc rnu --config MyScope.cfg",
        "LIVELOC_X=1 .venv/bin/liveloc fit movie.tif --pixel-siz 100 | tee log",
        "liveloc evaluate again",
        "cd there && liveloc train mine.yaml --minutes",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line):
    [words] = commands_in(line)
    with pytest.raises(AssertionError):
        parse(words)


def test_commands_are_found():
    counted = sum(
        len(commands_in(shell)) for page in PAGES for shell in blocks(page, *SHELLS)
    )
    assert counted > 30


@each_page(PAGES)
def test_scripts_and_their_options_are_there(page):
    for script, rest in re.findall(
        r"python ((?:tests|docs)/[\w/]+\.py)([^\n`]*)", text_of(page)
    ):
        source = (ROOT / script).read_text(encoding="utf-8")
        for option in re.findall(r"--[a-z][\w-]*", rest):
            assert option in source, f"{script} has no {option}"


# Python


@each_page(PAGES)
def test_python_compiles(page):
    for number, code in enumerate(blocks(page, "python")):
        compile(code, f"{page.name}, block {number}", "exec")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Make the files that the snippets read, in the present folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    rows = np.zeros(2000, LOCALIZATION)
    rng = np.random.default_rng(1)
    rows["frame"] = np.sort(rng.integers(0, 200, len(rows)))
    for name in ("x_nm", "y_nm"):
        rows[name] = rng.uniform(0, 7000, len(rows))
    for name in ("x_sigma_nm", "y_sigma_nm", "z_sigma_nm"):
        rows[name] = rng.uniform(5, 40, len(rows))
    rows["z_nm"] = rng.normal(0, 200, len(rows))
    rows["photons"], rows["probability"] = 2000, 0.9
    described = {
        "pixel_size_nm": "100.0",
        "roi_origin": "[0, 0]",
        "shape": "[70, 70]",
        "stream_id": "00" * 16,
    }
    with TableWriter("results/localizations.arrow", described) as table:
        table.append(rows)
    spots = np.zeros((6, 9, 9), np.float32)
    spots[:, 3:6, 3:6] = 0.1
    psf = SplinePSF(
        coefficients=spots,
        z_first_nm=-200.0,
        z_step_nm=80.0,
        centre_px=(4.0, 4.0),
        z_low_nm=-120.0,
        z_high_nm=120.0,
        pixel_size_nm=100.0,
    )
    save_psf(tmp_path / "mine.psf.npz", psf, {"chi2_signal": 1.01, "beads": 7})
    return tmp_path


@each_page([ROOT / name for name in RUN])
def test_python_runs(page, data):
    names = {}
    code = blocks(page, "python")
    assert code
    for number, block in enumerate(code):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)
    written = {"README.md": ["sharp.png"], "viewer.md": ["figure.png", "sharp.csv"]}
    for file in written.get(page.name, []):
        assert (data / file).stat().st_size > 100


def test_the_law_in_the_documentation_answers():
    names = {}
    [code] = blocks(DOCS / "control.md", "python")
    exec(code, names)
    reading = {"power": 2.0, "target_per_um2": 0.5, "per_um2": 0.25}
    assert names["control"](reading) == 4.0


# Settings


def model_for(keys):
    """Return what checks a YAML file with these keys."""
    marks = {
        "wavelength_nm": "optics",
        "schedule": "training",
        "offset_adu": "camera",
        "source": "view",
    }
    for mark, name in marks.items():
        if mark in keys:
            return reference.SETTINGS[name]
    return useq.MDASequence if "axis_order" in keys else reference.SETTINGS["session"]


YAML = [
    *((page, code) for page in PAGES for code in blocks(page, "yaml", "yml")),
    *((page, text_of(page)) for page in sorted((DOCS / "examples").glob("*.yaml"))),
]


@pytest.mark.parametrize(
    "page, code", YAML, ids=lambda value: getattr(value, "name", "")
)
def test_settings_are_valid(page, code):
    given = yaml.safe_load(code)
    model_for(given).model_validate(given)


def test_settings_of_each_kind_are_shown():
    shown = Counter(model_for(yaml.safe_load(code)) for _, code in YAML)
    assert set(shown) == {*reference.SETTINGS.values(), useq.MDASequence}


# Links


def links_of(page):
    """Return the links of a page that lead to this repository."""
    text = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", text_of(page)))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors_of(page):
    text = BLOCK.sub("", reference.fill(text_of(page)))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


@each_page(PAGES)
def test_links_lead_somewhere(page):
    for target in links_of(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors_of(there), f"{page.name}: {target}"


@each_page([page for page in PAGES if page.name != "CHANGELOG.md"])
def test_files_named_in_documents_are_there(page):
    rooms = "stream|model|bridge|viewer|tests|docs"
    for name in re.findall(rf"`((?:{rooms})/[\w/.-]*)`", text_of(page)):
        made = page.parent.name == "reference" or name == "stream/"
        there = [ROOT / name, ROOT / f"{name}.py"]
        assert made or any(map(Path.exists, there)), f"{page.name} names {name}"


def test_every_page_is_reached_from_the_index():
    reached, new = set(), {DOCS / "index.md"}
    while new:
        page = new.pop()
        reached.add(page)
        paths = (target.partition("#")[0] for target in links_of(page))
        linked = {(page.parent / p).resolve() for p in paths if p.endswith(".md")}
        new |= linked - reached
    assert set(DOCS.rglob("*.md")) <= reached
    assert set(links_of(ROOT / "README.md")) >= {"docs/index.md"}


# The reference


def test_the_reference_names_every_option():
    shown = reference.command_line()
    for name, command in reference.commands().items():
        assert f"## {name}\n" in shown
        for parameter in command.params:
            if not parameter.hidden:
                assert all(f"`{o}`" in shown for o in parameter.opts if o[0] == "-")


@pytest.mark.parametrize("name", reference.SETTINGS)
def test_the_reference_names_every_key(name):
    shown = reference.settings(name)
    for key in reference.SETTINGS[name].model_fields:
        assert f"| `{key}` |" in shown
    assert "any" not in re.findall(r"^\| `\w+` \| (\w+)", shown, re.MULTILINE)


def test_the_reference_names_every_loss_and_column():
    named = {value for key, value in vars(balance).items() if key.isupper()}
    losses = {value for value in named if isinstance(value, str)}
    assert losses - {balance.WINDOW_CLOSED} == set(reference.LOSSES)
    assert set(LOCALIZATION.names) == set(reference.COLUMNS)


def test_the_reference_pages_use_every_part():
    used = [
        mark
        for page in (DOCS / "reference").glob("*.md")
        for mark in re.findall(r"<!-- from the code: (\w+) -->", text_of(page))
    ]
    assert sorted(used) == sorted(reference.PARTS)
    for page in (DOCS / "reference").glob("*.md"):
        assert len(reference.fill(text_of(page))) > 1.5 * len(text_of(page))
