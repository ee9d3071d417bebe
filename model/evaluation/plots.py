"""Figures of an evaluation, for a paper: one PNG for each question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .precision import AXES, SIGMAS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from .curves import Curve
    from .report import Evaluation

# Colours that the colour-blind can distinguish (M. Okabe, K. Ito).
COLOURS = {"x": "#0072B2", "y": "#D55E00", "z": "#009E73", "grey": "#555555"}
LATERAL, AXIAL = "#0072B2", "#009E73"
DPI = 200
WIDTH_IN, HEIGHT_IN = 2.6, 2.2  # of one panel and what is around it
GAP_IN, LEFT_IN = 0.65, 0.55  # of it beside the panel, and on its left
STEP_IN, BELOW_IN = 0.65, 0.42  # of it above and below, and below
LOGARITHMIC = ("distance", "photons", "snr")


def write_plots(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write the figures that the evaluation has data for.

    Parameters
    ----------
    evaluation : Evaluation
        Evaluation to draw.
    folder : Path
        Made if need be.

    Returns
    -------
    list[Path]
        ``curves.png``, ``errors.png``, ``sigmas.png``, ``subpixel.png``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, tuple[bool, Callable[[Evaluation], Any]]] = {
        "curves.png": (bool(evaluation.curves), _curves),
        "errors.png": (bool(_axes(evaluation)), _errors),
        "sigmas.png": (bool(evaluation.reliability), _sigmas),
        "subpixel.png": (bool(evaluation.bias), _subpixel),
    }
    written = []
    for name, (possible, draw) in drawn.items():
        if possible:
            path = folder / name
            draw(evaluation).savefig(path, dpi=DPI)
            written.append(path)
    return written


def _panels(rows: int, columns: int) -> tuple[Any, Any]:
    """Return an empty figure and its axes, shape (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = WIDTH_IN * columns, HEIGHT_IN * rows
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(  # the same inches around every panel
        left=LEFT_IN / width,
        right=1 - (GAP_IN - LEFT_IN) / width,
        bottom=BELOW_IN / height,
        top=1 - (STEP_IN - BELOW_IN) / height,
        wspace=GAP_IN / (WIDTH_IN - GAP_IN),
        hspace=STEP_IN / (HEIGHT_IN - STEP_IN),
    )
    for panel in axes.flat:
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _label(panel: Any, x: str, y: str) -> None:
    panel.set_xlabel(x, fontsize=8)
    panel.set_ylabel(y, fontsize=8)


def _curves(evaluation: Evaluation) -> Any:
    """Draw one column for each property: Jaccard, RMSE, RMSE over limit."""
    with_limits = evaluation.limits is not None
    figure, axes = _panels(2 + with_limits, len(evaluation.curves))
    for column, (name, curve) in zip(axes.T, evaluation.curves.items(), strict=True):
        column[0].plot(curve.centre, curve.jaccard, "o-", ms=3, color=COLOURS["grey"])
        _label(column[0], "", "Jaccard index, %")
        _rmse(column[1], curve)
        if with_limits:
            for axis, ratio in curve.over_limit.items():
                column[2].plot(
                    curve.centre, ratio, "o-", ms=3, color=COLOURS[axis], label=axis
                )
            column[2].axhline(1.0, color="black", lw=0.8, ls=":")
            _label(column[2], "", "RMSE / CRLB")
            column[2].legend(fontsize=7, frameon=False)
        for panel in column:
            if name in LOGARITHMIC and curve.centre.max() > 3 * curve.centre.min() > 0:
                _few_decades(panel.xaxis, curve.centre)
            else:
                panel.locator_params(axis="x", nbins=5)
        column[-1].set_xlabel(curve.property, fontsize=8)
    for row, low in zip(axes, (None, 0.0, 0.0), strict=False):
        _one_scale(row, low)
    return figure


def _one_scale(panels: Any, low: float | None) -> None:
    """Set one vertical axis for all panels, which starts at `low` if given."""
    limits = np.array([panel.get_ylim() for panel in panels])
    for panel in panels:
        panel.set_ylim(limits[:, 0].min() if low is None else low, limits[:, 1].max())


def _rmse(panel: Any, curve: Curve) -> None:
    panel.plot(
        curve.centre, curve.rmse_lateral_nm, "o-", ms=3, color=LATERAL, label="lateral"
    )
    if np.nan_to_num(curve.rmse_axial_nm).any():
        panel.plot(
            curve.centre, curve.rmse_axial_nm, "s-", ms=3, color=AXIAL, label="axial"
        )
    panel.legend(fontsize=7, frameon=False)
    _label(panel, "", "RMSE, nm")


def _few_decades(axis: Any, values: NDArray[Any]) -> None:
    """Make an axis logarithmic, with plain numbers on it."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    wide = values.max() > 30 * max(values.min(), 1e-9)
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter(NullFormatter())


def _axes(evaluation: Evaluation) -> list[str]:
    return [axis for axis in "xyz" if axis in evaluation.precision]


def _errors(evaluation: Evaluation) -> Any:
    """Draw the errors along each axis, beside what the limits would make of them."""
    figure, axes = _panels(1, len(_axes(evaluation)))
    for panel, axis in zip(axes[0], _axes(evaluation), strict=True):
        error = evaluation.matched.error(AXES[axis])
        edges = np.linspace(-1, 1, 61) * 4 * float(np.quantile(np.abs(error), 0.75))
        panel.hist(error, edges, density=True, color=COLOURS[axis], alpha=0.5)
        if evaluation.limits is not None:
            limit = getattr(evaluation.limits, AXES[axis])[evaluation.matched.real]
            density = _mixture(edges, limit)
            panel.plot(edges, density, color="black", lw=1, label="CRLB")
            panel.legend(fontsize=7, frameon=False)
        panel.set_yticks([])
        found = evaluation.precision[axis]
        panel.set_title(f"RMSE {found.rmse:.1f}, bias {found.bias:+.1f} nm", fontsize=8)
        _label(panel, f"error in {axis}, nm", "density of pairs")
    return figure


def _mixture(at: NDArray[Any], sigma: NDArray[Any]) -> NDArray[np.float64]:
    """Average normal densities of the given widths."""
    widths = np.quantile(sigma, np.linspace(0.01, 0.99, 50))
    ratio = at[:, None] / widths
    density = np.exp(-0.5 * ratio**2) / widths / np.sqrt(2 * np.pi)
    return np.asarray(density.mean(axis=1))


def _sigmas(evaluation: Evaluation) -> Any:
    """Draw predicted against true errors, and errors over predictions."""
    figure, axes = _panels(2, len(evaluation.reliability))
    matched = evaluation.matched
    grid = np.linspace(-5, 5, 61)
    for column, (axis, found) in zip(
        axes.T, evaluation.reliability.items(), strict=True
    ):
        colour = COLOURS[axis]
        shown = np.concatenate([found.predicted, found.actual, found.robust])
        ends = shown.min() / 1.2, shown.max() * 1.2
        column[0].plot(ends, ends, color="black", lw=0.8, ls=":")
        column[0].plot(
            found.predicted, found.actual, "o-", ms=3, color=colour, label="RMSE"
        )
        column[0].plot(
            *(found.predicted, found.robust),
            *("o--",),
            ms=3,
            mfc="white",
            color=colour,
            label="robust",
        )
        _few_decades(column[0].xaxis, shown)
        _few_decades(column[0].yaxis, shown)
        column[0].set(xlim=ends, ylim=ends)
        column[0].legend(fontsize=7, frameon=False)
        _label(column[0], f"predicted sigma in {axis}, nm", "true error, nm")
        sigma = matched.table[SIGMAS[axis]][matched.found].astype(float)
        ratio = matched.error(AXES[axis])[sigma > 0] / sigma[sigma > 0]
        column[1].hist(ratio, grid, density=True, color=colour, alpha=0.5)
        normal = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
        column[1].plot(grid, normal, color="black", lw=1)
        column[1].set_yticks([])
        _label(column[1], f"error / sigma in {axis}", "density of pairs")
        if axis in evaluation.precision:
            inside = evaluation.precision[axis].within_1_sigma
            column[1].set_title(f"{100 * inside:.0f} % within 1 sigma", fontsize=8)
    return figure


def _subpixel(evaluation: Evaluation) -> Any:
    """Draw the mean error over the true place within pixel and cell."""
    figure, axes = _panels(1, len(evaluation.bias))
    for panel, (name, bias) in zip(axes[0], evaluation.bias.items(), strict=True):
        panel.axhline(0.0, color="black", lw=0.8, ls=":")
        panel.errorbar(
            bias.phase_px,
            bias.mean_nm,
            bias.standard_error_nm,
            fmt="o-",
            ms=3,
            lw=1,
            color=COLOURS[name[0]],
        )
        axis = name[0]
        rmse = evaluation.precision[axis].rmse if axis in evaluation.precision else 1.0
        most = max(1.3 * float(np.abs(bias.mean_nm).max()), 0.25 * rmse)
        panel.set_ylim(-most, most)
        panel.set_title(f"pull {bias.pull_nm:+.2f} nm, RMSE {rmse:.1f} nm", fontsize=8)
        _label(panel, f"place of {name}, px from its centre", "mean error, nm")
    return figure
