"""The geometry of a vision tower: its patches, and the pixels it was trained on."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sfllava_plugin.tokens.notation import PathwayError

Size = Annotated[int, Field(ge=1, strict=True)]
Colours = tuple[float, float, float]


class Grid(BaseModel):
    """The patches of one frame: ``rows`` x ``columns``. Token layouts need nothing else of a tower."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: Size
    columns: Size

    @classmethod
    def square(cls, patches: int) -> "Grid":
        """Lay out ``patches`` patches as a square.

        Raises:
            PathwayError: they make no square.
        """
        side = math.isqrt(patches)
        if side * side != patches or not patches:
            raise PathwayError(f"{patches} patches are no square: give their grid")
        return cls(rows=side, columns=side)

    @property
    def patches(self) -> int:
        """Count the patches."""
        return self.rows * self.columns

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


class Geometry(Grid):
    """Everything about a tower that decides how pixels become patches.

    A model directory keeps it in config.json, so that the processor can count tokens without a tower.

    Attributes:
        tower: the kind of tower.
        rows, columns: patches of a frame.
        image_size: side of a frame in pixels; frames are squares.
        mean, std: of each colour, red first; a pixel enters the tower as (value / 255 - mean) / std.
        feature_layer: the hidden state that is read, counted from the end: -2 is the last but one.
        class_token: whether the tower puts a class token before the patches; it is dropped.
    """

    tower: Literal["clip", "siglip"]
    image_size: Size
    mean: Colours
    std: Colours
    feature_layer: Annotated[int, Field(le=-1, strict=True)]
    class_token: bool
