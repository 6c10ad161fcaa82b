"""What the fields of a task's classes may hold, by name."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Text = Annotated[str, Field(min_length=1)]
FORBID = ConfigDict(extra="forbid")
