"""The last nanometres: emitters fitted again, from where the network saw them.

A small network finds the number of emitters and nearly their positions; how well the
pixels of one frame determine these is known in closed form. Fisher scoring with the PSF
brings the network's result there in a few steps (one suffices in the limit: Le Cam's
one-step estimator; A. W. van der Vaart, Asymptotic Statistics, ch. 5.7). Emitters that
overlap are fitted together, each with the background around it.

The network's result stays in as a prior, as wide as its uncertainty: it has seen three
frames, the fit sees one. Where emitters overlap, the pixels of one frame cannot always
show how many there are; pixels weigh less the worse they are fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .physics.crlb import depends_on_depth, images_and_slopes
from .physics.psf import half_width_px

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from liveloc.stream.calibration import CameraCalibration
    from liveloc.stream.localizations import Localizations

    from .emitters import Geometry
    from .physics.psf import PSF

    Floats = NDArray[np.float64]

DISTRUST = (0, 3)  # in each step: pixels met with a chi square of c count c^-3 times
CHANCE = 1.2  # chi square that noise alone may make
BACKGROUND_SIGMA = 0.3  # of the prior of the background, of its value
LONGEST_STEP = 1.0  # of an iteration, in standard deviations of the prior
LEAST_PHOTONS, LEAST_VARIANCE = 1.0, 1e-3
LARGEST_GROUP = 40  # emitters that are solved for at once


@dataclass(frozen=True, slots=True)
class _Squares:
    """The pixels that n emitters of one frame are fitted to: s^2 for each.

    Attributes
    ----------
    corner : NDArray[np.int64], shape (n, 2)
        Column and row of the first pixel of each square.
    pixel : NDArray[np.int64], shape (n, s^2)
        Number of each pixel among those that belong to any square.
    inside : NDArray[np.bool_], shape (n, s^2)
        False outside the frame.
    share : Floats, shape (n, s^2)
        Share of each emitter's background in the pixel's: squares overlap.
    seen, read_variance : Floats, shape (pixels,)
        Photons, and their variance in the dark.
    """

    corner: NDArray[np.int64]
    pixel: NDArray[np.int64]
    inside: NDArray[np.bool_]
    share: Floats
    seen: Floats
    read_variance: Floats


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Which emitters are fitted together.

    Attributes
    ----------
    first, second : NDArray[np.int64], shape (pairs,)
        Emitters of one group whose squares overlap.
    groups : list of NDArray[np.int64], each of shape (g, k)
        The members of all groups of k emitters, one array for each k.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    groups: list[NDArray[np.int64]]


class Refinement:
    """Fits the emitters of frames again by penalized maximum likelihood.

    Parameters
    ----------
    psf : PSF
        PSF of the emitters, from the bundle.
    calibration : CameraCalibration
        Calibration of the camera.
    geometry : Geometry
        Shape and position of the frames.
    z_range_nm : tuple[float, float] or None
        Depths that the network was trained on; None in 2D.
    """

    def __init__(
        self,
        psf: PSF,
        calibration: CameraCalibration,
        geometry: Geometry,
        z_range_nm: tuple[float, float] | None,
    ) -> None:
        self._psf, self._calibration, self._geometry = psf, calibration, geometry
        self._z_range = z_range_nm or (0.0, 0.0)
        self._deep = z_range_nm is not None and depends_on_depth(psf)
        self._half = half_width_px(psf, self._z_range)
        variance = np.float64(calibration.read_variance_photons)
        self._read_variance = np.broadcast_to(variance, geometry.shape).reshape(-1)

    def refine(self, table: Localizations, photons: NDArray[Any]) -> Localizations:
        """Fit the emitters of one frame.

        Parameters
        ----------
        table : Localizations
            Emitters of one frame, as the network found them.
        photons : NDArray, shape (height, width)
            The frame, in photons.

        Returns
        -------
        Localizations
            The same rows with positions, photons, background and their sigmas fitted.
            Rows whose fit fails stay as they were.
        """
        if len(table) == 0:
            return table
        start, spread = self._prior(table)
        squares = self._squares(start, photons)
        neighbours = _neighbours(start[:, :2], squares.corner, self._half)
        found, weight = start, 1 / spread**2
        for distrust in DISTRUST:
            blocks, score = self._equations(squares, neighbours, found, distrust)
            score = score - weight * (found - start)
            step, sigma = _solve(blocks, score, weight, neighbours)
            found = found + np.clip(step, -LONGEST_STEP * spread, LONGEST_STEP * spread)
            found[:, 2] = np.clip(found[:, 2], *self._z_range)
            found[:, 3] = np.maximum(found[:, 3], LEAST_PHOTONS)
        return self._table(table, found, _without_prior(sigma, spread))

    def _prior(self, table: Localizations) -> tuple[Floats, Floats]:
        """Return means and standard deviations of x, y, z, photons, background: (n, 5).

        In pixels, nm and photons, on the frame.
        """
        pixel, (x0, y0) = self._geometry.pixel_size_nm, self._geometry.roi_origin
        z, z_sigma = table["z_nm"], table["z_sigma_nm"]
        if not self._deep:
            z, z_sigma = np.zeros(len(table)), np.ones(len(table))
        ground = np.maximum(table["background"], 1e-3)
        start = np.stack(
            [
                table["x_nm"] / pixel - x0,
                table["y_nm"] / pixel - y0,
                z,
                np.maximum(table["photons"], LEAST_PHOTONS),
                ground,
            ],
            axis=1,
        ).astype(np.float64)
        spread = np.stack(
            [
                table["x_sigma_nm"] / pixel,
                table["y_sigma_nm"] / pixel,
                z_sigma,
                np.maximum(table["photons_sigma"], LEAST_PHOTONS),
                BACKGROUND_SIGMA * ground + 0.1,
            ],
            axis=1,
        ).astype(np.float64)
        return start, np.maximum(spread, 1e-6)

    def _squares(self, start: Floats, photons: NDArray[Any]) -> _Squares:
        """Cut the squares out of a frame."""
        height, width = self._geometry.shape
        corner = np.round(start[:, :2]).astype(np.int64) - self._half
        span = np.arange(2 * self._half + 1)
        column = corner[:, 0, None, None] + span
        row = corner[:, 1, None, None] + span[:, None]
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        flat = np.clip(row, 0, height - 1) * width + np.clip(column, 0, width - 1)
        used, number = np.unique(flat, return_inverse=True)
        pixel = number.reshape(len(start), -1)
        inside = inside.reshape(pixel.shape)
        squares = np.bincount(pixel[inside], minlength=len(used))
        return _Squares(
            corner=corner,
            pixel=pixel,
            inside=inside,
            share=inside / np.maximum(squares, 1)[pixel],
            seen=photons.reshape(-1)[used].astype(np.float64),
            read_variance=self._read_variance[used],
        )

    def _equations(
        self, squares: _Squares, neighbours: _Neighbours, found: Floats, distrust: int
    ) -> tuple[Floats, Floats]:
        """Return Fisher's information and the score, less where pixels fit badly.

        The information of emitters first, then of pairs: (n + pairs, 5, 5); the score
        is (n, 5).
        """
        n, size = len(found), 2 * self._half + 1
        x, y = (found[:, :2] - squares.corner).T
        image, slopes = images_and_slopes(
            self._psf, x, y, found[:, 2], (size, size), deep=self._deep
        )
        light = found[:, 3][:, None]
        image = image.reshape(n, -1) * squares.inside
        columns = [slope.reshape(n, -1) * light * squares.inside for slope in slopes]
        design = np.stack([*columns, image, squares.share], axis=1)  # (n, 5, s^2)
        of_emitter = image * light + squares.share * found[:, 4][:, None]
        mean = np.bincount(
            squares.pixel.reshape(-1), of_emitter.reshape(-1), len(squares.seen)
        )
        camera = self._calibration
        variance = camera.excess * np.maximum(mean, 0) / camera.qe
        precision = 1 / np.maximum(variance + squares.read_variance, LEAST_VARIANCE)
        weighted = design * precision[squares.pixel][:, None]
        residual = squares.seen - mean
        score = weighted @ residual[squares.pixel][..., None]
        own = weighted @ np.swapaxes(design, 1, 2)
        shared = _overlap(weighted, design, squares.corner, neighbours, size)
        chi2 = (residual**2 * precision)[squares.pixel]
        misfit = (image * chi2).sum(1) / np.maximum(image.sum(1), 1e-9)
        doubt = np.maximum(misfit / CHANCE, 1) ** distrust
        of_pair = np.sqrt(doubt[neighbours.first] * doubt[neighbours.second])
        information = np.concatenate([own, shared])
        information /= np.concatenate([doubt, of_pair])[:, None, None]
        return information, score[..., 0] / doubt[:, None]

    def _table(
        self, table: Localizations, found: Floats, sigma: Floats
    ) -> Localizations:
        """Put what was fitted into the rows, where it is a number."""
        pixel, (x0, y0) = self._geometry.pixel_size_nm, self._geometry.roi_origin
        refined = table.copy()
        refined["x_nm"] = (found[:, 0] + x0) * pixel
        refined["y_nm"] = (found[:, 1] + y0) * pixel
        refined["x_sigma_nm"], refined["y_sigma_nm"] = sigma[:, :2].T * pixel
        refined["photons"], refined["photons_sigma"] = found[:, 3], sigma[:, 3]
        refined["background"] = found[:, 4]
        if self._deep:
            refined["z_nm"], refined["z_sigma_nm"] = found[:, 2], sigma[:, 2]
        good = np.isfinite(found).all(1) & np.isfinite(sigma).all(1)
        return np.where(good, refined, table)


def _without_prior(sigma: Floats, spread: Floats) -> Floats:
    """Return the result of pixels or network alone, whichever is surer.

    The network has seen the same pixels: together they are no surer than that.
    """
    information = np.maximum(1 / sigma**2 - 1 / spread**2, 1e-12 / spread**2)
    return np.minimum(1 / np.sqrt(information), spread)


def _neighbours(places: Floats, corner: NDArray[np.int64], half_px: int) -> _Neighbours:
    """Group emitters that light each other's middle."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    n, tree, reach = len(places), cKDTree(places), float(half_px)
    while True:
        close = tree.query_pairs(reach, output_type="ndarray")
        links = csr_array((np.ones(len(close)), (close[:, 0], close[:, 1])), (n, n))
        _, group = connected_components(links, directed=False)
        sizes = np.bincount(group)
        if sizes.max() <= LARGEST_GROUP:
            break
        reach *= 0.8
    near = tree.query_pairs(2.0**0.5 * (2 * half_px + 1), output_type="ndarray")
    near = near[group[near[:, 0]] == group[near[:, 1]]]
    overlap = np.abs(corner[near[:, 0]] - corner[near[:, 1]]).max(1) <= 2 * half_px
    first, second = near[overlap].T
    order = np.argsort(group, kind="stable")
    starts = np.cumsum(sizes) - sizes
    groups = [
        order[starts[sizes == k][:, None] + np.arange(k)] for k in np.unique(sizes)
    ]
    return _Neighbours(first, second, groups)


def _overlap(
    weighted: Floats,
    design: Floats,
    corner: NDArray[np.int64],
    neighbours: _Neighbours,
    size: int,
) -> Floats:
    """Return the information that pairs share: (pairs, 5, 5)."""
    first, second = neighbours.first, neighbours.second
    shift = corner[first] - corner[second]
    span = np.arange(size)
    column = span + shift[:, 0, None, None]
    row = span[:, None] + shift[:, 1, None, None]
    both = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    flat = np.where(both, row * size + column, 0).reshape(-1, 1, size**2)
    there = np.take_along_axis(design[second], flat, 2)
    there *= both.reshape(flat.shape)
    return np.asarray(weighted[first] @ np.swapaxes(there, 1, 2))


def _solve(
    blocks: Floats, score: Floats, weight: Floats, neighbours: _Neighbours
) -> tuple[Floats, Floats]:
    """Return the step (n, 5) and the standard deviations (n, 5), group by group."""
    n = len(score)
    first, second = neighbours.first, neighbours.second
    own, shared = blocks[:n].copy(), blocks[n:]
    own[:, range(5), range(5)] += weight
    step, sigma = np.empty_like(score), np.empty_like(score)
    group, place = np.full(n, -1), np.zeros(n, np.int64)
    for members in neighbours.groups:
        g, k = members.shape
        group[:] = -1
        group[members] = np.arange(g)[:, None]
        place[members] = np.arange(k)
        fisher = np.zeros((g, k, 5, k, 5))
        fisher[group[members], place[members], :, place[members]] = own[members]
        pair = group[first] >= 0
        a, b = first[pair], second[pair]
        fisher[group[a], place[a], :, place[b]] = shared[pair]
        fisher[group[a], place[b], :, place[a]] = np.swapaxes(shared[pair], 1, 2)
        inverse = np.linalg.inv(fisher.reshape(g, 5 * k, 5 * k))
        moved = inverse @ score[members].reshape(g, 5 * k, 1)
        step[members] = moved.reshape(g, k, 5)
        variance = np.diagonal(inverse, axis1=1, axis2=2)
        sigma[members] = np.sqrt(variance).reshape(g, k, 5)
    return step, sigma
