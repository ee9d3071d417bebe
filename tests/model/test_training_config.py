"""A configuration that cannot work is refused before a minute is spent on it."""

import numpy as np
import pytest
import yaml

from liveloc.model.bundle import SHIPPED
from liveloc.model.physics.psf import SplinePSF
from liveloc.model.physics.psf_file import save_psf
from liveloc.model.training_config import TrainingConfig
from liveloc.stream.errors import SettingsError

DEEP = yaml.safe_load((SHIPPED / "simulated-microscope.yaml").read_text())
FLAT = yaml.safe_load((SHIPPED / "gaussian-2d.yaml").read_text())


def load(folder, plain, **changes):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(plain | changes))
    return TrainingConfig.load(path)


def changed(plain, section, **values):
    return {section: plain[section] | values}


@pytest.mark.parametrize("name", ["simulated-microscope", "gaussian-2d"])
def test_the_shipped_configurations_are_valid(name):
    assert TrainingConfig.load(SHIPPED / f"{name}.yaml").name == name


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path):
    plain = dict(FLAT)
    plain["pixelsize_nm"] = plain.pop("pixel_size_nm")
    with pytest.raises(SettingsError, match="'pixel_size_nm'"):
        load(tmp_path, plain)


@pytest.mark.parametrize(
    ("plain", "changes", "message"),
    [
        (FLAT, {"z_range_nm": [-400, 400]}, "round Gaussian does not show z"),
        (DEEP, {"z_range_nm": None}, "missing.* kind astigmatic"),
        (DEEP, {"z_range_nm": [400, -400]}, r"must be \[lowest, highest\] in nm"),
        (FLAT, {"psf": {"kind": "gaussian", "sigma_px": [0.13, 0.2]}}, "micrometres"),
        (DEEP, {"pixel_size_nm": 0.1}, "measure 10 to 1000 nm"),
        (
            DEEP,
            changed(DEEP, "emitters", density_per_um2=[1, 90]),
            "cannot be resolved",
        ),
        (DEEP, changed(DEEP, "emitters", photons=[5000, 100]), "lowest, highest"),
        (
            DEEP,
            changed(DEEP, "emitters", label_photons=9000),
            "nothing is left to find",
        ),
        (DEEP, changed(DEEP, "background", photons=[50, 5]), "background.photons"),
    ],
)
def test_what_cannot_be_learned_is_refused_with_the_reason(
    tmp_path, plain, changes, message
):
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, plain, **changes)


def test_a_camera_file_beside_numbers_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="which one holds"):
        load(tmp_path, DEEP, camera={"file": "camera.yaml", "qe": 0.9})


def spline(pixel_size_nm=100.0):
    return SplinePSF(
        coefficients=np.full((8, 9, 9), 1 / 81, np.float32),
        z_first_nm=-150,
        z_step_nm=50,
        centre_px=(4.0, 4.0),
        z_low_nm=-100,
        z_high_nm=100,
        pixel_size_nm=pixel_size_nm,
    )


def test_a_psf_file_is_found_beside_the_configuration(tmp_path):
    save_psf(tmp_path / "beads.psf.npz", spline(), {})
    psf = {"kind": "spline", "file": "beads.psf.npz"}
    config = load(tmp_path, DEEP, psf=psf, z_range_nm=[-100, 100])
    assert isinstance(config.optics().psf, SplinePSF)
    assert config.without_folders().psf.file.name == str(
        config.without_folders().psf.file
    )


@pytest.mark.parametrize(
    ("pixel_size_nm", "z_range_nm", "message"),
    [
        (108.0, [-100, 100], "measured with pixels of 108 nm"),
        (100.0, [-300, 100], "measured from -100 to 100 nm"),
    ],
)
def test_a_psf_file_that_does_not_fit_is_refused(
    tmp_path, pixel_size_nm, z_range_nm, message
):
    save_psf(tmp_path / "beads.psf.npz", spline(pixel_size_nm), {})
    psf = {"kind": "spline", "file": "beads.psf.npz"}
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, DEEP, psf=psf, z_range_nm=z_range_nm).optics()


def test_a_psf_file_that_is_missing_or_none_is_named(tmp_path):
    psf = {"kind": "spline", "file": "beads.psf.npz"}
    config = load(tmp_path, DEEP, psf=psf)
    with pytest.raises(SettingsError, match=r"no such PSF file.*calibrate psf"):
        config.optics()
    (tmp_path / "beads.psf.npz").write_bytes(b"PK\3\4")
    with pytest.raises(SettingsError, match="not a PSF file"):
        config.optics()
