"""PSFs of SMAP: files as MATLAB writes them, compared with their own polynomials."""

import h5py
import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.io import savemat

from liveloc.model.physics.psf import SplinePSF
from liveloc.model.physics.psf_file import save_psf
from liveloc.model.physics.smap import open_psf, read_smap
from liveloc.stream.errors import SettingsError

ROWS, COLUMNS, DEPTHS = 19, 19, 31  # knots
X0, Z0, DZ = 10, 14.5, 25.0


def volume():
    """Give a PSF without any symmetry, [row, column, objective's step]."""
    r, c = np.mgrid[:ROWS, :COLUMNS] - (X0 - 1.0)
    images = []
    for k in range(DEPTHS):
        z_nm = -(k - Z0) * DZ
        sigma_x = 1.3 * np.sqrt(1 + ((z_nm - 200) / 350) ** 2)
        sigma_y = 1.3 * np.sqrt(1 + ((z_nm + 200) / 350) ** 2)
        spot = np.exp(-((c / sigma_x) ** 2 + (r / sigma_y) ** 2) / 2)
        tail = 0.3 * np.exp(-(((c - 2) / 2) ** 2 + ((r - 1) / 2) ** 2) / 2)
        images.append((spot + tail) / (2 * np.pi * sigma_x * sigma_y))
    return np.stack(images, axis=2)


def coefficients(values):
    """Give 64 coefficients per voxel in SMAP's order, 32-bit as in its files."""
    c = values
    for axis in range(3):  # powers come to the end: row, column, z
        c = np.moveaxis(c, axis, 0)
        c = np.moveaxis(CubicSpline(np.arange(len(c)), c, axis=0).c[::-1], 0, -1)
        c = np.moveaxis(c, 0, axis)
    c = c.transpose(0, 1, 2, 5, 4, 3)  # the row's power runs fastest
    return np.float32(c.reshape(*c.shape[:3], 64))


def evaluate(coeff, x_px, y_px, z_nm, shape):
    """Sum the monomials, pixel by pixel, as the fitters of SMAP and DECODE do."""
    image, (rows, columns, depths, _) = np.zeros(shape), coeff.shape
    for row in range(shape[0]):
        for column in range(shape[1]):
            r, c, k = row - y_px + X0 - 1, column - x_px + X0 - 1, Z0 - z_nm / DZ
            i, j, m = int(np.floor(r)), int(np.floor(c)), int(np.floor(k))
            if 0 <= i < rows and 0 <= j < columns:
                m = min(max(m, 0), depths - 1)
                for n in range(64):
                    power = (r - i) ** (n % 4) * (c - j) ** (n // 4 % 4)
                    power *= (k - m) ** (n // 16)
                    image[row, column] += coeff[i, j, m, n] * power
    return image


def write_v5(path, cell=False, **more):
    coeff = coefficients(volume())
    if cell:
        held = np.empty((1, 1), object)
        held[0, 0] = coeff
    spline = {"coeff": held if cell else coeff, "x0": float(X0), "z0": Z0, "dz": DZ}
    spline |= {k: more.pop(k) for k in list(more) if k == "normf"}
    parameters = {"cam_pixelsize_um": np.array([0.12, 0.12])}
    savemat(path, {"SXY": {"cspline": spline} | more, "parameters": parameters})


def write_v73(path, cell=True, regions=1):
    """Write HDF5 as MATLAB does: axes reversed, cells and struct arrays references."""
    coeff = coefficients(volume())
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")

        def number(group, name, value):
            data = group.create_dataset(name, data=np.array([[float(value)]]))
            data.attrs["MATLAB_class"] = np.bytes_("double")
            return data

        splines = []
        for region in range(regions):
            spline = refs.create_group(f"spline{region}")
            spline.attrs["MATLAB_class"] = np.bytes_("struct")
            data = refs.create_dataset(f"coeff{region}", data=coeff.T)
            data.attrs["MATLAB_class"] = np.bytes_("single")
            if cell:
                held = spline.create_dataset("coeff", (1, 1), h5py.ref_dtype)
                held[0, 0] = data.ref
                held.attrs["MATLAB_class"] = np.bytes_("cell")
            else:
                spline["coeff"] = data
            for name, value in {"x0": X0, "z0": Z0, "dz": DZ}.items():
                number(spline, name, value)
            splines.append(spline)
        sxy = file.create_group("SXY")
        sxy.attrs["MATLAB_class"] = np.bytes_("struct")
        if regions == 1:
            sxy["cspline"] = splines[0]
            number(sxy, "EMon", 0)
        else:
            field = sxy.create_dataset("cspline", (regions, 1), h5py.ref_dtype)
            for region, spline in enumerate(splines):
                field[region, 0] = spline.ref
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))


def assert_same_images(psf, mirrored=False):
    coeff = coefficients(volume())
    places = [(9.0, 9.0, 0.0), (9.3, 8.6, -123.0), (8.55, 9.45, 280.0)]
    for x, y, z in places:
        expected = evaluate(coeff, 18 - x if mirrored else x, y, z, (19, 19))
        expected = expected[:, ::-1] if mirrored else expected
        position = (np.array([v]) for v in (x, y, z))
        image = psf.render(*position, np.ones(1), (19, 19))
        inner = np.s_[1:-1, 1:-1]  # beyond the outermost knots ours fades out
        np.testing.assert_allclose(image[inner], expected[inner], atol=2e-6)


@pytest.mark.parametrize("cell", [False, True])
def test_matlab_5_file_renders_as_its_polynomials(tmp_path, cell):
    write_v5(tmp_path / "beads_3dcal.mat", cell)
    psf, metadata = read_smap(tmp_path / "beads_3dcal.mat")
    assert_same_images(psf)
    assert psf.pixel_size_nm == pytest.approx(120)
    assert metadata["conversion_error"] < 1e-5
    assert metadata["mirrored_back"] is False


@pytest.mark.parametrize("cell", [False, True])
def test_matlab_73_file_renders_as_its_polynomials(tmp_path, cell):
    write_v73(tmp_path / "beads_3dcal.mat", cell)
    assert_same_images(read_smap(tmp_path / "beads_3dcal.mat", 100.0)[0])


def test_depth_grows_against_the_objective_and_ends_where_the_beads_did(tmp_path):
    write_v5(tmp_path / "x.mat")
    psf, _ = read_smap(tmp_path / "x.mat")
    assert (psf.z_low_nm, psf.z_high_nm) == ((Z0 - 30) * DZ, Z0 * DZ)
    one = np.array([9.0])
    image = psf.render(one, one, np.array([200.0]), np.ones(1), (19, 19))
    assert image[9, 12] < image[12, 9]  # narrow along columns at z = +200
    image = psf.render(one, one, np.array([-200.0]), np.ones(1), (19, 19))
    assert image[9, 12] > image[12, 9]


def test_beads_with_em_gain_are_mirrored_back(tmp_path):
    write_v5(tmp_path / "em.mat", EMon=1.0)
    psf, metadata = read_smap(tmp_path / "em.mat")
    assert metadata["mirrored_back"] is True
    assert_same_images(psf, mirrored=True)


def test_brightness_of_a_photon_is_taken_from_the_file(tmp_path):
    write_v5(tmp_path / "a.mat")
    write_v5(tmp_path / "b.mat", normf=2.0)
    a, b = (read_smap(tmp_path / name)[0] for name in ("a.mat", "b.mat"))
    np.testing.assert_allclose(b.coefficients, a.coefficients / 2, rtol=1e-6)


def test_unknown_pixel_size_asks_for_it(tmp_path):
    write_v73(tmp_path / "x.mat")
    with pytest.raises(SettingsError, match=r"does not state .* pixel size"):
        read_smap(tmp_path / "x.mat")


def test_calibration_by_regions_is_refused_with_the_remedy(tmp_path):
    write_v73(tmp_path / "x.mat", regions=4)
    with pytest.raises(SettingsError, match=r"4 regions.*whole field"):
        read_smap(tmp_path / "x.mat", 100.0)


def test_polynomials_that_do_not_join_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    spline = {"coeff": rng.normal(size=(9, 9, 9, 64)), "x0": 5.0, "z0": 4.0, "dz": 10.0}
    savemat(tmp_path / "x.mat", {"SXY": {"cspline": spline}})
    with pytest.raises(SettingsError, match="do not join"):
        read_smap(tmp_path / "x.mat", 100.0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not a MATLAB file at all" * 40, "cannot be read as a MATLAB file"),
        (b"", "cannot be read as a MATLAB file"),
    ],
)
def test_other_files_are_named(tmp_path, content, says):
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(SettingsError, match=says):
        read_smap(tmp_path / "x.mat")


def test_matlab_file_without_a_spline_says_what_is_missing(tmp_path):
    savemat(tmp_path / "x.mat", {"a": 1.0})
    with pytest.raises(SettingsError, match=r"SXY\.cspline is missing"):
        read_smap(tmp_path / "x.mat")
    spline = {"coeff": np.zeros((3, 3, 3, 63)), "x0": 1.0, "z0": 1.0, "dz": 1.0}
    savemat(tmp_path / "x.mat", {"SXY": {"cspline": spline}})
    with pytest.raises(SettingsError, match=r"shape \(3, 3, 3, 63\)"):
        read_smap(tmp_path / "x.mat")
    spline = {"coeff": np.zeros((3, 3, 3, 64)), "x0": 1.0, "z0": 1.0}
    savemat(tmp_path / "x.mat", {"SXY": {"cspline": spline}})
    with pytest.raises(SettingsError, match=r"dz is missing"):
        read_smap(tmp_path / "x.mat")


def test_open_psf_reads_both_kinds(tmp_path):
    write_v5(tmp_path / "x_3dcal.mat")
    psf, _ = open_psf(tmp_path / "x_3dcal.mat")
    save_psf(tmp_path / "x.psf.npz", psf, {"from": "SMAP"})
    again, metadata = open_psf(tmp_path / "x.psf.npz")
    assert isinstance(again, SplinePSF)
    assert metadata == {"from": "SMAP"}
    np.testing.assert_array_equal(again.coefficients, psf.coefficients)
    with pytest.raises(SettingsError, match="no such file"):
        open_psf(tmp_path / "missing.mat")


def test_a_file_that_ends_its_reader_is_refused(tmp_path, monkeypatch):
    """SciPy's reader ends its process on some damaged files."""
    path = tmp_path / "p.mat"
    write_v5(path)
    ending = tmp_path / "reader.py"
    ending.write_text("import os, signal\nos.abort()\n")
    monkeypatch.setattr("liveloc.model.physics.smap._READER", ending)
    with pytest.raises(SettingsError, match="cannot be read as a MATLAB file"):
        open_psf(path)
    ending.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr("liveloc.model.physics.smap.LONGEST_S", 0.5)
    with pytest.raises(SettingsError, match=r"not done after 0\.5 s"):
        open_psf(path)


def test_a_cut_file_of_version_5_is_refused_in_one_line(tmp_path):
    path = tmp_path / "p.mat"
    write_v5(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(SettingsError, match="cannot be read as a MATLAB") as refusal:
        open_psf(path)
    assert "\n" not in str(refusal.value)
