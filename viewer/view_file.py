"""Everything that makes a picture, as YAML: to be made again without a window."""

from __future__ import annotations

import difflib
import json
import math
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    field_serializer,
    field_validator,
    model_validator,
)

from liveloc.stream.files.yaml_file import load_yaml, to_yaml
from liveloc.stream.pixel_size import PixelSizeNm

from .data.drift_curve import Drift
from .data.selection import Selection
from .image.colouring import DisplaySettings, colour_table
from .image.picture_file import write_whole
from .image.reconstruction import LARGEST_SIDE, SUPER_PIXEL_NM
from .image.viewport import Viewport

if TYPE_CHECKING:
    from .data.document import Document

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_SECTIONS = {"look": DisplaySettings, "selection": Selection, "viewport": Viewport}


class View(BaseModel):
    """What is seen of which table, and how.

    Attributes
    ----------
    liveloc_view : int
        Version of this file's layout.
    source : Path
        Session's folder or table; in the file relative to it where that is possible.
    pixel_size_nm : float, optional
        Of the camera, for tables that do not say it.
    super_pixel_nm : float
        Edge of the histogram's pixels; the look's limit is per one of them.
    look : DisplaySettings
        Colours, contrast, how a row is drawn.
    selection : Selection
        Which rows.
    drift : Drift, optional
        Taken off their positions.
    viewport : Viewport, optional
        Part of the sample and size of the picture; default: the whole field.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    liveloc_view: Literal[1] = 1
    source: Path
    pixel_size_nm: PixelSizeNm | None = None
    super_pixel_nm: Positive = SUPER_PIXEL_NM
    look: DisplaySettings = DisplaySettings()
    selection: Selection = Selection()
    drift: InstanceOf[Drift] | None = None
    viewport: Viewport | None = None

    @classmethod
    def of(
        cls,
        document: Document,
        look: DisplaySettings,
        viewport: Viewport | None,
        source: str | Path,
        *,
        pixel_size_nm: float | None = None,
    ) -> View:
        """Describe what is shown of a document that came from `source`."""
        return cls(
            source=Path(source),
            pixel_size_nm=pixel_size_nm,
            super_pixel_nm=document.image.super_pixel_nm,
            look=look,
            selection=document.selection,
            drift=document.drift,
            viewport=viewport,
        )

    @classmethod
    def load(cls, path: str | Path) -> View:
        """Read a view.

        Raises
        ------
        SettingsError
            One line that names the file, the key and the remedy.
        """
        path = Path(path)
        view = load_yaml(path, cls)
        return view.model_copy(update={"source": path.parent / view.source})

    def save(self, path: str | Path) -> None:
        """Write it; the file appears whole or not at all."""
        path = Path(path)
        plain = self.model_dump(mode="json", exclude_none=True)
        plain["selection"] = self.selection.as_dict()
        plain["source"] = _relative(self.source, path.parent)
        text = to_yaml(plain, default_flow_style=None)
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))

    @field_validator("look", "selection", "viewport", mode="before")
    @classmethod
    def _known_names(cls, value: Any, info: Any) -> Any:
        """Refuse a name that means nothing, and say which one may be meant."""
        if isinstance(value, dict):
            known = [field.name for field in fields(_SECTIONS[info.field_name])]
            for name in value:
                if name not in known:
                    close = difflib.get_close_matches(str(name), known, 1, 0.5)
                    hint = f"Did you mean '{close[0]}'" if close else ", ".join(known)
                    hint += "?" if close else " are known"
                    raise ValueError(f"unknown setting '{name}'. {hint}")
        return value

    @field_validator("drift", mode="before")
    @classmethod
    def _read_drift(cls, value: Any) -> Any:
        return Drift.from_dict(value) if isinstance(value, dict) else value

    @field_serializer("drift")
    def _write_drift(self, drift: Drift | None) -> dict[str, list[float]] | None:
        return None if drift is None else drift.as_dict()

    @model_validator(mode="after")
    def _possible(self) -> View:
        """Check what types alone do not say."""
        Selection.from_dict(self.selection.as_dict())
        look = self.look
        for name in (look.intensity_map, look.depth_map):
            colour_table(name)
        above_0 = {"gamma": look.gamma, "width_nm": look.width_nm}
        above_0 |= {"limit": 1.0 if look.limit is None else look.limit}
        if self.viewport is not None:
            above_0["pixel_nm"] = self.viewport.pixel_nm
            if not all(1 <= side <= LARGEST_SIDE for side in self.viewport.shape):
                raise ValueError(
                    f"viewport: shape is {list(self.viewport.shape)}, [height, width] "
                    f"of 1 to {LARGEST_SIDE} pixels are needed"
                )
        for name, value in above_0.items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value:g}, a number above 0 is needed")
        if not 0 < look.percentile <= 100:
            raise ValueError(f"percentile is {look.percentile:g}, 0 to 100 are needed")
        ends = look.depth_range_nm
        if ends is not None and not -math.inf < ends[0] < ends[1] < math.inf:
            raise ValueError(
                f"depth_range_nm is {json.dumps(ends)}, [low, high] are needed"
            )
        return self


def _relative(source: Path, folder: Path) -> str:
    """Name a path from a folder; as it is where there is no way between them."""
    try:
        return Path(os.path.relpath(source, folder)).as_posix()
    except ValueError:  # another drive
        return source.resolve().as_posix()
