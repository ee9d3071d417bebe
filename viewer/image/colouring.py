"""From sums to a picture: smoothing, contrast, colour. No window needed."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from liveloc.stream.errors import SettingsError

from .layers import Mode  # noqa: TC001 (pydantic reads what a look may be)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .layers import Layers

Colour = Literal["auto", "intensity", "z"]

USUAL_WIDTH_NM = {"sigma": 15.0, "fixed": 15.0, "histogram": 15.0, "density": 100.0}
LEVELS = 1024  # entries of a colour table
DARKEST = 1.0 / 512.0  # brightness below this is black on every screen
DEPTH_STEP_NM = 50.0  # the ends of a colour bar are whole multiples of this


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplaySettings:
    """How a picture is made.

    Attributes
    ----------
    mode : {"sigma", "fixed", "histogram", "density"}
        What a localization looks like: a Gaussian as wide as its predicted
        uncertainty, a Gaussian of `width_nm`, a count in one pixel, or the local
        density in localizations per um2, smoothed over `width_nm`.
    width_nm : float
        Standard deviation of those Gaussians; in mode ``sigma`` of the rows that
        say none.
    colour : {"auto", "intensity", "z"}
        ``auto``: hue is the mean z where the table has z, else intensity.
    intensity_map, depth_map : str
        Colour maps by their `cmap` names.
    smooth : float
        What stands for mode ``sigma`` where only a histogram is known: the standard
        deviation of the Gaussian laid over it, in super-pixels. 0 shows it bare.
    gamma : float
        Brightness is (counts / limit) ** gamma: below 1 lifts what is sparse.
    limit : float, optional
        Counts per super-pixel (after smoothing) shown at full brightness. None:
        chosen from the image.
    percentile : float
        The chosen limit is this percentile of the occupied pixels.
    depth_range_nm : tuple[float, float], optional
        z at the two ends of the colour map. None: chosen from the image.
    """

    mode: Mode = "sigma"
    width_nm: float = 15.0
    colour: Colour = "auto"
    intensity_map: str = "inferno"
    depth_map: str = "turbo"
    smooth: float = 0.8
    gamma: float = 0.5
    limit: float | None = None
    percentile: float = 95.0
    depth_range_nm: tuple[float, float] | None = None

    def in_mode(self, mode: Mode) -> DisplaySettings:
        """Change the mode, and with it a width left at its default."""
        usual = self.width_nm == USUAL_WIDTH_NM[self.mode]
        width_nm = USUAL_WIDTH_NM[mode] if usual else self.width_nm
        return replace(self, mode=mode, width_nm=width_nm)


@dataclass(frozen=True, slots=True)
class Picture:
    """A rendered image and what is needed to read it.

    Attributes
    ----------
    rgb : NDArray[np.uint8], shape (height, width, 3)
        Row 0 is the top row of the camera.
    pixel_nm : float
        Edge of a pixel.
    limit : float
        What is shown at full brightness, in `unit`.
    depth_range_nm : tuple[float, float] or None
        z at the ends of the colour map; None when colour is intensity.
    unit : str
        ``localizations/pixel``, in mode ``density`` ``localizations/um2``.
    """

    rgb: NDArray[np.uint8]
    pixel_nm: float
    limit: float
    depth_range_nm: tuple[float, float] | None
    unit: str = "localizations/pixel"


def picture(layers: Layers, look: DisplaySettings, *, zoom: int = 1) -> Picture:
    """Colour `layers`.

    A histogram is first made what the mode asks for, as far as it can be: it knows
    no rows. ``sigma`` is then the histogram smoothed by `look.smooth` super-pixels;
    ``fixed`` and ``density`` are the histogram smoothed by `look.width_nm`, right to
    half a super-pixel. Layers that were drawn from rows (`Layers.drawn_as`) are
    shown as they are.

    Parameters
    ----------
    layers : Layers
        Sums over pixels.
    look : DisplaySettings
        Its limit is in the unit of the layers' counts.
    zoom : int
        Each pixel becomes `zoom` x `zoom` pixels before smoothing.
    """
    sigma, unit = _smoothing(layers, look) * zoom, _unit(layers, look)
    counts = _zoomed(layers.counts, zoom)
    density = smoothed(counts, sigma)
    limit = look.limit or automatic_limit(
        density, counts, look.percentile, drawn=layers.drawn_as != "histogram"
    )
    bright = brightness(density, limit, look.gamma)
    pixel_nm, per_count = layers.pixel_nm / zoom, _per_count(layers, look)
    shown = depth_layers(layers, look)
    if shown is None:
        rgb = colour_table(look.intensity_map)[_levels(bright)]
        return Picture(rgb, pixel_nm, limit * per_count, None, unit)
    weight = density  # what all counts have a depth needs no second smoothing
    if shown[1] is not layers.counts:
        weight = smoothed(_zoomed(shown[1], zoom), sigma)
    depth = mean_depth(smoothed(_zoomed(shown[0], zoom), sigma), weight)
    ends = look.depth_range_nm or automatic_depth_range(layers)
    rgb = depth_coloured(bright, depth, ends, look.depth_map)
    return Picture(rgb, pixel_nm, limit * per_count, ends, unit)


def _smoothing(layers: Layers, look: DisplaySettings) -> float:
    """Return the sigma in pixels by which layers become what the mode asks for."""
    if layers.drawn_as != "histogram" or look.mode == "histogram":
        return 0.0
    return look.smooth if look.mode == "sigma" else look.width_nm / layers.pixel_nm


def _unit(layers: Layers, look: DisplaySettings) -> str:
    shown = look.mode if layers.drawn_as == "histogram" else layers.drawn_as
    return "localizations/um2" if shown == "density" else "localizations/pixel"


def _per_count(layers: Layers, look: DisplaySettings) -> float:
    """Return what one count of a histogram is in the unit of the picture."""
    if layers.drawn_as == "histogram" and look.mode == "density":
        return 1e6 / layers.pixel_nm**2
    return 1.0


def depth_layers(
    layers: Layers, look: DisplaySettings
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Return the sum of z and the rows with z, or None if colour is intensity."""
    if look.colour == "intensity":
        return None
    if layers.depth_sum_nm is None or layers.depth_counts is None:
        return None
    return layers.depth_sum_nm, layers.depth_counts


def smoothed(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Lay a Gaussian of `sigma` pixels over an image; outside is empty."""
    if sigma <= 0:
        return image
    reach = max(1, math.ceil(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    return _along_rows(_along_rows(image, taps).T, taps).T


def _along_rows(
    image: NDArray[np.float32], taps: NDArray[np.float32]
) -> NDArray[np.float32]:
    reach, height = taps.size // 2, image.shape[0]
    out: NDArray[np.float32] = image * taps[reach]
    scaled = np.empty_like(out)
    for shift in range(1, min(reach, height - 1) + 1):  # the Gaussian is symmetric
        np.multiply(image, taps[reach + shift], out=scaled)
        out[shift:] += scaled[:-shift]
        out[:-shift] += scaled[shift:]
    return out


def automatic_limit(
    density: NDArray[np.float32],
    counts: NDArray[np.float32],
    percentile: float,
    *,
    drawn: bool = False,
) -> float:
    """Choose the counts shown at full brightness: a percentile where anything is.

    Empty pixels say nothing about contrast, so the choice does not depend on how
    much of the field is empty. 1.0 for an empty image.

    Parameters
    ----------
    density, counts : NDArray[np.float32]
        What is shown, and the counts that it was made of.
    percentile : float
        Of the occupied pixels.
    drawn : bool
        Rows were drawn as Gaussians, whose rims are no occupied pixels.
    """
    occupied = density[occupied_pixels(counts) if drawn else counts > 0]
    if not occupied.size:
        return 1.0
    return float(np.percentile(occupied, percentile))


def occupied_pixels(counts: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where the rows are, in a picture made of Gaussians, which are everywhere.

    True for the brightest pixels that hold 98 % of all counts together: a limit of
    brightness would be set by the brightest bead.
    """
    step = max(1, math.isqrt(counts.size // 250_000))
    values = np.sort(counts[::step, ::step], axis=None)
    held = np.cumsum(values, dtype=np.float64)
    if not held.size or held[-1] <= 0:
        return np.zeros(counts.shape, np.bool_)
    faintest = values[np.searchsorted(held, 0.02 * held[-1])]
    return np.asarray((counts >= faintest) & (counts > 0), np.bool_)


def automatic_depth_range(layers: Layers) -> tuple[float, float]:
    """Choose the ends of the colour map: nearly all depths, at round numbers."""
    if layers.depth_sum_nm is None or layers.depth_counts is None:
        return (-DEPTH_STEP_NM, DEPTH_STEP_NM)
    occupied = layers.depth_counts > 0
    if layers.drawn_as != "histogram":
        occupied = occupied_pixels(layers.depth_counts)
    depths = layers.depth_sum_nm[occupied] / layers.depth_counts[occupied]
    if not depths.size:
        return (-DEPTH_STEP_NM, DEPTH_STEP_NM)
    low, high = np.percentile(depths, (2.0, 98.0)) / DEPTH_STEP_NM
    first = math.floor(low)
    last = max(math.ceil(high), first + 1)
    return (first * DEPTH_STEP_NM, last * DEPTH_STEP_NM)


def brightness(
    density: NDArray[np.float32], limit: float, gamma: float
) -> NDArray[np.float32]:
    """Map counts to 0..1."""
    scaled: NDArray[np.float32] = np.clip(density * np.float32(1.0 / limit), 0.0, 1.0)
    if gamma != 1.0:
        np.power(scaled, np.float32(gamma), out=scaled)
    return scaled


def mean_depth(
    depth_sum_nm: NDArray[np.float32], depth_counts: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Divide; NaN where no row has a depth."""
    depth = np.full(depth_sum_nm.shape, np.nan, np.float32)
    np.divide(depth_sum_nm, depth_counts, out=depth, where=depth_counts > 1e-6)
    return depth


def depth_coloured(
    bright: NDArray[np.float32],
    depth_nm: NDArray[np.float32],
    ends_nm: tuple[float, float],
    depth_map: str,
) -> NDArray[np.uint8]:
    """Colour by depth, as bright as the counts; what has no depth is grey."""
    low, high = ends_nm
    rgb = np.zeros((*bright.shape, 3), np.uint8)
    lit = bright > DARKEST
    depth, light = depth_nm[lit], bright[lit]
    known = np.isfinite(depth)
    place = np.where(known, (depth - low) / (high - low), 0.0)
    colours = depth_table(depth_map)[_levels(np.clip(place, 0.0, 1.0))]
    colours[~known] = 200
    rgb[lit] = colours * light[:, None] + 0.5
    return rgb


@functools.lru_cache(maxsize=16)
def colour_table(name: str) -> NDArray[np.uint8]:
    """Return a colour map as a table, shape (1024, 3).

    Raises
    ------
    SettingsError
        No colour map has this name.
    """
    import cmap

    try:
        colours = cmap.Colormap(name)(np.linspace(0.0, 1.0, LEVELS))
    except ValueError:
        raise SettingsError(
            f"colour map {name!r} does not exist. Try 'inferno', 'hot', 'gray' for "
            "intensity, 'turbo' for z, or any other name of the package cmap."
        ) from None
    return (np.asarray(colours)[:, :3] * 255.0 + 0.5).astype(np.uint8)


@functools.lru_cache(maxsize=16)
def depth_table(name: str) -> NDArray[np.uint8]:
    """Return a colour map with every colour at its full brightness, shape (1024, 3).

    With z as hue, brightness is for the counts alone: the dark ends that many maps
    have would hide what lies highest and deepest.
    """
    table = colour_table(name).astype(np.float32)
    strongest = np.maximum(table.max(axis=1, keepdims=True), 1.0)
    full: NDArray[np.uint8] = (table * (255.0 / strongest) + 0.5).astype(np.uint8)
    return full


def _levels(values: NDArray[np.float32]) -> NDArray[np.intp]:
    return (values * (LEVELS - 1) + 0.5).astype(np.intp)


def _zoomed(image: NDArray[np.float32], zoom: int) -> NDArray[np.float32]:
    if zoom == 1:
        return image
    # Spread over zoom x zoom pixels; the contrast follows the image, so the sum
    # is of no consequence here.
    return image.repeat(zoom, axis=0).repeat(zoom, axis=1)
