"""The picture of a PSF calibration: beads beside their fit, and its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.calibration import CameraCalibration

from ...physics.crlb import crlb
from .record import beads_in_words

if TYPE_CHECKING:
    from pathlib import Path

    from .calibration import PSFCalibration

# Colours that the colour-blind can distinguish (M. Okabe, K. Ito).
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
DEPTHS = 7
SIGMAS = 4.0  # range of the residuals shown
BAR_NM = 1000.0
DPI = 150
PHOTONS, BACKGROUND = 1000.0, 20.0  # of the limits shown
LIMIT_DEPTHS = 41
LIGHT = "magma"


def write_report(calibration: PSFCalibration, path: Path, title: str) -> None:
    """Draw a calibration as a PNG.

    Parameters
    ----------
    calibration : PSFCalibration
    path : Path
        Overwritten.
    title : str
        Name of the stack.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 10.4), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=[1.0, 1.05], hspace=0.03)
    images, lower = halves
    sections, curves = lower.subfigures(1, 2, width_ratios=[1.0, 1.3], wspace=0.03)
    figure.suptitle(_headline(calibration, title), fontsize=11)
    bead = _typical(calibration)
    shown = _Bead(calibration, bead)
    _draw_planes(images, shown, calibration)
    _draw_sections(sections, shown, calibration)
    _draw_curves(curves, calibration)
    figure.savefig(path, dpi=DPI)


class _Bead:
    """One bead: measured, fitted, and their difference in units of the noise."""

    def __init__(self, calibration: PSFCalibration, number: int) -> None:
        model = calibration.model
        order = np.argsort(model.z_nm)
        expected = model.expected()
        sigmas = np.sqrt(model.weights(expected)) * (model.images - expected)
        self.number = number
        self.z_nm = model.z_nm[order]
        self.measured = model.images[number][order]
        self.fitted = expected[number][order]
        self.residual = sigmas[number][order]
        self.column = model.half + round(float(model.x_px[number]))
        self.row = model.half + round(float(model.y_px[number]))


def _headline(calibration: PSFCalibration, title: str) -> str:
    fit, model = calibration.fit, calibration.model
    has_noise = calibration.settings.camera is not None
    chi2 = f"χ² per pixel {fit.chi2_signal:.3f}" if has_noise else "noise unknown"
    return (
        f"{title}: {beads_in_words(len(calibration.beads))}, {len(model.z_nm)} planes, "
        f"{calibration.settings.pixel_size_nm:g} nm pixels, {chi2}"
    )


def _typical(calibration: PSFCalibration) -> int:
    """Choose the bead whose fit is neither best nor worst."""
    chi2 = calibration.fit.chi2_beads
    return int(np.argsort(chi2)[(len(chi2) - 1) // 2])


def _draw_planes(figure: Any, bead: _Bead, calibration: PSFCalibration) -> None:
    """Show measured, fitted and residual images at several depths."""
    planes = np.linspace(0, len(bead.z_nm) - 1, DEPTHS + 2).round().astype(int)[1:-1]
    axes = figure.subplots(3, DEPTHS, squeeze=False)
    rows = ("measured", "fitted", rf"residual (±{SIGMAS:g} $\sigma$)")
    for column, plane in enumerate(planes):
        low, high = _range(bead.fitted[plane])
        for row, image in enumerate((bead.measured, bead.fitted, bead.residual)):
            ax = axes[row, column]
            _image(ax, image[plane], low, high, residual=row == 2)
            if column == 0:
                ax.set_ylabel(rows[row], fontsize=9)
        axes[0, column].set_title(f"z = {bead.z_nm[plane]:+.0f} nm", fontsize=9)
    _bar(axes[0, 0], calibration.settings.pixel_size_nm, bead.measured.shape[-1])
    note = f"bead {bead.number + 1}, each depth on its own scale; bar 1 µm"
    figure.supxlabel(note, fontsize=8, color=GREY)


def _draw_sections(figure: Any, bead: _Bead, calibration: PSFCalibration) -> None:
    """Show xz and yz sections through the bead, measured, fitted and residual.

    The square root of the light shows the dim ends of the range, too.
    """
    axes = figure.subplots(2, 3, squeeze=False)
    scale = calibration.settings.pixel_size_nm / 1000
    edge = bead.measured.shape[-1] / 2 * scale
    extent = (-edge, edge, bead.z_nm[0] / 1000, bead.z_nm[-1] / 1000)
    titles = ("measured", "fitted", "residual")
    figure.supxlabel("square root of the light", fontsize=8, color=GREY)
    for row, name in enumerate("xy"):
        cuts = [
            stack[:, bead.row, :] if name == "x" else stack[:, :, bead.column]
            for stack in (bead.measured, bead.fitted, bead.residual)
        ]
        low, high = _range(cuts[1])
        for column, (ax, cut) in enumerate(zip(axes[row], cuts, strict=True)):
            shown = cut if column == 2 else np.sqrt(np.maximum(cut - low, 0))
            top = np.sqrt(high - low)
            _image(ax, shown, 0.0, top, residual=column == 2, extent=extent)
            ax.set_xlabel(f"{name} (µm)", fontsize=8)
            ax.tick_params(labelsize=7, labelleft=column == 0)
            if column == 0:
                ax.set_ylabel("z (µm)", fontsize=8)
            if row == 0:
                ax.set_title(titles[column], fontsize=9)


def _draw_curves(figure: Any, calibration: PSFCalibration) -> None:
    """Show wobble, widths and light, limits of precision, and chi2 over depth."""
    (top_left, top_right), (low_left, low_right) = figure.subplots(2, 2, sharex=True)
    s = calibration.slices
    z = s.z_nm / 1000
    top_left.plot(z, s.dx_nm, color=BLUE, label="x")
    top_left.plot(z, s.dy_nm, color=ORANGE, label="y")
    _labels(top_left, "wobble (nm)")
    top_right.plot(z, s.amplitude, color=GREY)
    top_right.set_ylim(0, 1.15 * s.amplitude.max())
    _labels(top_right, "light in the window, per photon", legend=False)
    _draw_limits(low_left, calibration)
    _draw_chi2(low_right, calibration)
    for ax in (low_left, low_right):
        ax.set_xlabel("z (µm)", fontsize=8)
        ax.locator_params(axis="x", nbins=6)


def _draw_limits(ax: Any, calibration: PSFCalibration) -> None:
    """Show the precision that the PSF allows."""
    settings, psf = calibration.settings, calibration.psf
    camera = settings.camera or CameraCalibration(read_noise_e=0.0)
    z = np.linspace(psf.z_low_nm, psf.z_high_nm, LIMIT_DEPTHS)
    limits = crlb(psf, z, PHOTONS, BACKGROUND, camera, settings.pixel_size_nm)
    pairs = ((limits.x_nm, BLUE, "x"), (limits.y_nm, ORANGE, "y"))
    for values, colour, name in (*pairs, (limits.z_nm, GREEN, "z")):
        ax.semilogy(z / 1000, values, color=colour, label=name)
    values = np.concatenate([limits.x_nm, limits.y_nm, limits.z_nm])
    good = values[np.isfinite(values)]
    if good.size:
        ax.set_ylim(0.7 * good.min(), min(1.5 * good.max(), 100 * good.min()))
    ax.set_title(f"{PHOTONS:g} photons, background {BACKGROUND:g}", fontsize=8)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(_two_or_five)
    _labels(ax, "√CRLB (nm)")


def _draw_chi2(ax: Any, calibration: PSFCalibration) -> None:
    """Show how well each plane fits."""
    model = calibration.model
    order = np.argsort(model.z_nm)
    chi2 = calibration.fit.chi2_planes[order]
    ax.axhspan(0.9, 1.1, color="#dddddd", lw=0)
    ax.plot(model.z_nm[order] / 1000, chi2, color=GREEN, lw=1)
    ax.set_ylim(0, max(1.6, min(1.1 * float(chi2.max()), 4.0)))
    has_noise = calibration.settings.camera is not None
    _labels(ax, "χ² per pixel" if has_noise else "χ² (noise unknown)", legend=False)


def _two_or_five(value: float, _: Any) -> str:
    """Label 2 and 5 of each decade only."""
    text = f"{value:g}"
    return text if text.strip("0.")[:1] in ("2", "5") else ""


def _range(image: Any) -> tuple[float, float]:
    return float(min(image.min(), 0.0)), float(image.max())


def _image(
    ax: Any, image: Any, low: float, high: float, *, residual: bool, extent: Any = None
) -> None:
    """Draw one image: its light, or residuals in colours around white."""
    if residual:
        low, high = -SIGMAS, SIGMAS
    ax.imshow(
        image,
        cmap="RdBu_r" if residual else LIGHT,
        vmin=low,
        vmax=high,
        origin="upper" if extent is None else "lower",
        extent=extent,
        aspect="equal" if extent is None else "auto",
        interpolation="nearest",
    )
    if extent is None:
        ax.set_xticks([])
        ax.set_yticks([])


def _bar(ax: Any, pixel_size_nm: float, window: int) -> None:
    """Draw a bar of 1 um."""
    length = BAR_NM / pixel_size_nm
    ax.plot([1, 1 + length], [window - 3, window - 3], color="white", lw=2)


def _labels(ax: Any, name: str, *, legend: bool = True) -> None:
    ax.set_ylabel(name, fontsize=8)
    ax.tick_params(which="both", labelsize=7)
    ax.grid(alpha=0.25, lw=0.5)
    if legend:
        ax.legend(fontsize=7, frameon=False)
