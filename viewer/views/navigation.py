"""Which part of the sample the canvas shows: pan and zoom, without a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..image.viewport import Viewport

if TYPE_CHECKING:
    from ..image.viewport import Rect

FINEST_NM = 0.05  # per logical pixel
MARGIN = 0.01  # around the whole field, as a share of it
FARTHEST = 4.0  # times the scale that shows the whole field


class Camera:
    """Looks at the sample from above: x to the right, y (rows) downwards.

    Screen positions are logical pixels from the canvas' upper left corner, 0 at its
    edge: the centre of the first pixel is at 0.5.

    Attributes
    ----------
    field : Rect
        What there is to see; the centre of the view stays within it.
    size : tuple[int, int]
        (width, height) of the canvas, logical pixels.
    nm_per_pixel : float
        Edge of a logical pixel in the sample.
    whole : bool
        The view follows the canvas' size so that the whole field shows; ends with
        the first pan or zoom.
    """

    def __init__(self) -> None:
        self.field: Rect = (0.0, 1000.0, 0.0, 1000.0)
        self.size = (100, 100)
        self.nm_per_pixel = 10.0
        self.whole = True
        self._centre_nm = (500.0, 500.0)

    @property
    def rect(self) -> Rect:
        """The edges of what the canvas shows, nm."""
        (x, y), scale = self._centre_nm, self.nm_per_pixel
        across, down = self.size[0] * scale / 2, self.size[1] * scale / 2
        return (x - across, x + across, y - down, y + down)

    def viewport(self, ratio: float = 1.0) -> Viewport:
        """Return the view in pixels of the screen, `ratio` of them per logical one."""
        left, _, top, _ = self.rect
        width, height = self.size
        shape = (max(1, round(height * ratio)), max(1, round(width * ratio)))
        return Viewport(
            left_nm=left, top_nm=top, pixel_nm=self.nm_per_pixel / ratio, shape=shape
        )

    def to_nm(self, x: float, y: float) -> tuple[float, float]:
        """Return the place in the sample, in nm, of a screen position."""
        left, _, top, _ = self.rect
        return left + x * self.nm_per_pixel, top + y * self.nm_per_pixel

    def to_screen(self, x_nm: float, y_nm: float) -> tuple[float, float]:
        """Return the screen position of a place in the sample."""
        left, _, top, _ = self.rect
        return (x_nm - left) / self.nm_per_pixel, (y_nm - top) / self.nm_per_pixel

    def look_at(self, field: Rect) -> None:
        """Take another field, and show all of it."""
        self.field = field
        self.show_whole()

    def resize(self, width: int, height: int) -> None:
        """Take another size of the canvas; what is in the middle stays there."""
        self.size = (max(1, width), max(1, height))
        if self.whole:
            self.show_whole()

    def show_whole(self) -> None:
        """Show the whole field, and keep doing so when the canvas changes."""
        self.show(self.field, margin=MARGIN)
        self.whole = True

    def show(self, rect: Rect, *, margin: float = 0.0) -> None:
        """Show a rectangle in the middle, as large as it fits."""
        left, right, top, bottom = rect
        self._centre_nm = ((left + right) / 2, (top + bottom) / 2)
        scale = max((right - left) / self.size[0], (bottom - top) / self.size[1])
        self.nm_per_pixel = max(scale * (1 + 2 * margin), FINEST_NM)
        self.whole = False

    def zoom(
        self, factor: float, x: float | None = None, y: float | None = None
    ) -> None:
        """Magnify by `factor`; what is under (x, y), else the middle, stays there."""
        if x is None or y is None:
            x, y = self.size[0] / 2, self.size[1] / 2
        held = self.to_nm(x, y)
        coarsest = max(self._whole_scale() * FARTHEST, FINEST_NM)
        wanted = self.nm_per_pixel / factor
        self.nm_per_pixel = min(max(wanted, FINEST_NM), coarsest)
        moved = self.to_nm(x, y)
        self._move(held[0] - moved[0], held[1] - moved[1])

    def pan(self, dx: float, dy: float) -> None:
        """Let the sample follow a movement of the hand, logical pixels."""
        self._move(-dx * self.nm_per_pixel, -dy * self.nm_per_pixel)

    def _move(self, x_nm: float, y_nm: float) -> None:
        left, right, top, bottom = self.field
        x, y = self._centre_nm[0] + x_nm, self._centre_nm[1] + y_nm
        self._centre_nm = (min(max(x, left), right), min(max(y, top), bottom))
        self.whole = False

    def _whole_scale(self) -> float:
        left, right, top, bottom = self.field
        return max((right - left) / self.size[0], (bottom - top) / self.size[1])
