"""Options of control laws as a session file gives them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Options(BaseModel):
    """Options that refuse what they do not know, and never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
