"""Retrieve a phase mask from isolated emitters of a real movie.

python tests/benchmarks/retrieve_mask.py MOVIE tests/benchmarks/tetrapod-optics.yaml \
    tests/benchmarks/tetrapod_spots.csv

Zernike coefficients, common to all spots, and the place, depth, photons and background
of each are fitted by weighted least squares, pixels within `RADIUS_PX` of a spot. Every
third spot is held out: the mask does not see it, and the misfit of held-out spots, with
only their own places fitted, shows whether the mask is right. It starts from a bare
tetrapod, astigmatism of -250 nm and secondary astigmatism of 250 nm; with --refine from
the optics file's own mask. --save writes a picture of spots beside their images.

The spots' table has columns frame, x_px, y_px, z_nm: about where an emitter is.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from liveloc.model.physics.pupil import Optics, Pupil
from liveloc.stream.movies import open_movie

HALF_PX, RADIUS_PX = 26, 24
AXIS = np.deg2rad(-22)  # of the bare tetrapod, as the frames show it
BACKGROUND_SIGMA = 3.0  # counts that the background of a spot may differ by
LEARN = {"mask": 4.0, "place": 12.0, "depth": 20.0}  # nm per step
Real = torch.float32


class Spots:
    """Cut-out pixels of emitters, and where those are thought to be."""

    def __init__(self, frames, table, pixel_nm):
        span = np.arange(-HALF_PX, HALF_PX + 1)
        self.pixels, self.pixel_nm = span * pixel_nm, pixel_nm
        flat = frames - np.median(frames, axis=(1, 2), keepdims=True)
        flat = np.pad(flat, ((0, 0), (HALF_PX,) * 2, (HALF_PX,) * 2))
        known = np.pad(np.ones(frames.shape[1:]), HALF_PX)
        near = np.hypot(span, span[:, None]) <= RADIUS_PX
        cuts, masks, places = [], [], []
        for frame, x, y, z in table:
            column, row = round(x), round(y)
            cut = np.s_[row : row + len(span), column : column + len(span)]
            cuts.append(flat[int(frame)][cut])
            masks.append(known[cut] * near)
            places.append(((x - column) * pixel_nm, (y - row) * pixel_nm, z))
        self.counts = torch.tensor(np.array(cuts), dtype=Real)
        self.known = torch.tensor(np.array(masks), dtype=Real)
        self.places = torch.tensor(np.array(places), dtype=Real)
        inner = flat[:, HALF_PX:-HALF_PX, HALF_PX:-HALF_PX]
        self.variance = float(1.4826 * np.median(np.abs(inner))) ** 2

    def misfit(self, images):
        """Fit photons and background of each; give chi2 per pixel, and the fits."""
        weight = self.known / self.variance
        a, b = (weight * images**2).sum((1, 2)), (weight * images).sum((1, 2))
        u = (weight * images * self.counts).sum((1, 2))
        v = (weight * self.counts).sum((1, 2))
        e = weight.sum((1, 2)) + BACKGROUND_SIGMA**-2
        photons = ((u * e - b * v) / (a * e - b * b)).clamp(min=0)[:, None, None]
        level = ((a * v - b * u) / (a * e - b * b))[:, None, None]
        drawn = photons * images + level
        square = weight * (self.counts - drawn) ** 2
        return square.sum((1, 2)) / self.known.sum((1, 2)), drawn


def blurred(images, sigma_px):
    """Blur images with a Gaussian, in Fourier space."""
    f = torch.fft.fftfreq(images.shape[-1])
    passed = torch.exp(-2 * (np.pi * sigma_px) ** 2 * (f[:, None] ** 2 + f**2))
    return torch.fft.ifft2(torch.fft.fft2(images) * passed).real


def fit(spots, pupil, mask, optics, steps, learn_mask):
    """Fit places, and the mask; give (mask, chi2 per pixel of each, their images)."""
    mask = mask.clone().requires_grad_(learn_mask)
    lateral = spots.places[:, :2].clone().requires_grad_()
    depth = spots.places[:, 2].clone().requires_grad_()
    groups = [
        {"params": [lateral], "lr": LEARN["place"]},
        {"params": [depth], "lr": LEARN["depth"]},
    ]
    if learn_mask:
        groups.append({"params": [mask], "lr": LEARN["mask"]})
    search = torch.optim.Adam(groups)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(search, steps)
    pixels = (spots.pixels, spots.pixels)
    for _ in range(steps):
        images = pupil.images(
            lateral[:, 0],
            lateral[:, 1],
            depth,
            mask,
            optics.focus_nm,
            pixels,
            spots.pixel_nm,
        )
        chi2, drawn = spots.misfit(blurred(images, optics.blur_px))
        search.zero_grad()
        (chi2.sum() + 1e-6 * (mask**2).sum()).backward()
        search.step()
        slower.step()
    spots.places = torch.cat([lateral, depth[:, None]], 1).detach()
    return mask.detach(), chi2.detach().numpy(), drawn.detach().numpy()


def save_picture(path, spots, drawn):
    """Draw some spots above their images."""
    from matplotlib.figure import Figure
    from scipy.ndimage import gaussian_filter

    chosen = np.linspace(0, len(drawn) - 1, 10).astype(int)
    figure = Figure(figsize=(20, 4.4))
    for column, spot in enumerate(chosen):
        known = spots.known[spot].numpy()
        for row, image in enumerate((spots.counts[spot].numpy(), drawn[spot])):
            axes = figure.add_subplot(2, 10, 10 * row + column + 1)
            top = gaussian_filter(drawn[spot] * known, 1).max()
            axes.imshow(gaussian_filter(image * known, 1), vmin=0, vmax=top)
            axes.axis("off")
            if row == 0:
                axes.set_title(f"z {spots.places[spot, 2]:.0f} nm")
    figure.tight_layout()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("movie", type=Path)
    parser.add_argument("optics", type=Path)
    parser.add_argument("spots", type=Path)
    parser.add_argument("--order", type=int, default=6, help="largest radial order")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--refine", action="store_true")
    parser.add_argument("--save", type=Path, help="picture to write")
    args = parser.parse_args()
    optics = Optics.load(args.optics)
    optics = optics.model_copy(update={"window_px": 2 * HALF_PX + 1})
    orders = [(n, m) for n in range(2, args.order + 1) for m in range(-n, n + 1, 2)]
    modes = [(n, m) for n, m in orders if m % 2 == 0 and (n, m) != (2, 0)]
    known = {(n, m): nm for n, m, nm in optics.zernike_nm}
    bare = {2: -250.0, 4: 250.0}
    start = (
        known
        if args.refine
        else {
            (n, sign * 2): nm * (np.cos, np.sin)[sign < 0](2 * AXIS)
            for n, nm in bare.items()
            for sign in (1, -1)
        }
    )
    with open_movie(args.movie) as movie:
        frames = np.stack([movie.read(k) for k in range(len(movie))]).astype(float)
    table = np.loadtxt(args.spots, delimiter=",", skiprows=1)
    out = np.arange(len(table)) % 3 == 2

    def as_tensor(array):
        kind = Real.to_complex() if np.iscomplexobj(array) else Real
        return torch.as_tensor(array, dtype=kind)

    pupil = Pupil.of(optics, modes).converted(as_tensor)

    def vector(mask):
        return torch.tensor([mask.get(mode, 0.0) for mode in modes], dtype=Real)

    def held_out(mask):
        spots = Spots(frames, table[out], optics.pixel_size_nm)
        return fit(spots, pupil, mask, optics, args.steps // 2, learn_mask=False)[1]

    print(f"held out, start: chi2 per pixel {held_out(vector(start)).mean():.3f}")
    spots = Spots(frames, table[~out], optics.pixel_size_nm)
    mask, chi2, drawn = fit(spots, pupil, vector(start), optics, args.steps, True)
    print(f"fitted: chi2 per pixel {chi2.mean():.3f} of {len(chi2)} spots")
    print(f"held out, found: chi2 per pixel {held_out(mask).mean():.3f}")
    print(f"held out, file: chi2 per pixel {held_out(vector(known)).mean():.3f}")
    for (n, m), nm in zip(modes, mask.tolist(), strict=True):
        print(f"- [{n}, {m}, {nm:.0f}]")
    if args.save:
        save_picture(args.save, spots, drawn)


if __name__ == "__main__":
    main()
