import json
import zipfile
from dataclasses import replace

import pytest

from liveloc.model.backend import OnnxBackend, usable_providers
from liveloc.model.bundle import (
    PARTS,
    SHIPPED,
    load_bundle,
    shipped_bundles,
    write_bundle,
)
from liveloc.model.training_config import TrainingConfig
from liveloc.stream.errors import SettingsError

SHIPPED_NAMES = ["gaussian-2d", "simulated-microscope"]


def contents(name="gaussian-2d"):
    with zipfile.ZipFile(SHIPPED / f"{name}.liveloc") as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


def rewrite(path, files, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_both_bundles_are_shipped():
    assert shipped_bundles() == SHIPPED_NAMES


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_a_shipped_bundle_is_what_its_configuration_says(name):
    spec = load_bundle(name).spec
    assert spec.name == name
    assert spec.training == TrainingConfig.load(SHIPPED / f"{name}.yaml")
    assert spec.kflop_per_px <= 60
    assert spec.accuracy["jaccard"] > 50
    assert spec.is_3d == (name == "simulated-microscope")


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_a_bundle_tells_nothing_of_the_disk_it_was_made_on(name):
    for content in contents(name).values():
        assert b".py" not in content
        assert b"site-packages" not in content


def test_a_written_bundle_loads_and_is_the_same_bytes_again(tmp_path):
    bundle = load_bundle("gaussian-2d")
    for name in ("one", "two"):
        write_bundle(tmp_path / f"{name}.liveloc", bundle.spec, bundle.parts)
    assert load_bundle(tmp_path / "one.liveloc").digest == bundle.digest
    assert (tmp_path / "one.liveloc").read_bytes() == (
        tmp_path / "two.liveloc"
    ).read_bytes()


@pytest.mark.parametrize("part", PARTS)
def test_an_altered_part_is_refused_by_its_hash(tmp_path, part):
    files = contents()
    files[part] = bytes([files[part][0] ^ 1]) + files[part][1:]
    with pytest.raises(SettingsError, match=f"{part} does not match its hash"):
        load_bundle(rewrite(tmp_path / "bad.liveloc", files))


def test_a_flipped_byte_anywhere_is_refused(tmp_path):
    content = bytearray((SHIPPED / "gaussian-2d.liveloc").read_bytes())
    content[len(content) // 2] ^= 0x10
    path = tmp_path / "bad.liveloc"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="damaged"):
        load_bundle(path)


def test_another_schema_is_refused_by_both_numbers(tmp_path):
    files = contents()
    spec = json.loads(files["model.json"])
    files["model.json"] = json.dumps({**spec, "schema_version": 99}).encode()
    with pytest.raises(SettingsError, match=r"schema 99, this liveloc reads 2"):
        load_bundle(rewrite(tmp_path / "new.liveloc", files))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("frame.onnx"), "must hold"),
        (lambda f: f.update({"evil.pkl": b""}), "must hold"),
        (lambda f: f.update({"model.json": b"[]"}), "model.json is not valid"),
        (lambda f: f.update({"model.json": b"{"}), "model.json is not valid"),
    ],
)
def test_a_zip_that_is_no_bundle_is_refused(tmp_path, change, message):
    files = contents()
    change(files)
    with pytest.raises(SettingsError, match=message):
        load_bundle(rewrite(tmp_path / "bad.liveloc", files))


def test_a_file_that_is_no_zip_and_a_missing_one_say_what_to_do(tmp_path):
    path = tmp_path / "movie.tif"
    path.write_bytes(b"II*\0")
    with pytest.raises(SettingsError, match="not a model bundle"):
        load_bundle(path)
    with pytest.raises(SettingsError, match="gaussian-2d, simulated-microscope"):
        load_bundle("nonsense")


@pytest.mark.parametrize("damage", ["junk", "cut", "swapped"])
def test_graphs_that_cannot_be_run_are_refused_in_one_line(damage):
    """Their hashes are right: somebody else made the bundle."""
    bundle = load_bundle("gaussian-2d")
    frame, context = bundle.parts["frame.onnx"], bundle.parts["context.onnx"]
    parts = {
        "junk": {"frame.onnx": b"junk" * 100},
        "cut": {"context.onnx": context[: len(context) // 2]},
        "swapped": {"frame.onnx": context, "context.onnx": frame},
    }[damage]
    with pytest.raises(SettingsError, match=r"gaussian-2d': .*onnx cannot be run") as e:
        OnnxBackend(replace(bundle, parts={**bundle.parts, **parts}))
    assert "\n" not in str(e.value)


def test_an_unknown_provider_is_refused():
    with pytest.raises(SettingsError, match="cpu"):
        OnnxBackend(load_bundle("gaussian-2d"), provider="abacus")


def test_a_provider_without_its_libraries_never_falls_back_in_silence():
    if "cuda" in usable_providers():
        pytest.skip("this machine has CUDA")
    with pytest.raises(SettingsError, match="doctor"):
        OnnxBackend(load_bundle("gaussian-2d"), provider="cuda")
