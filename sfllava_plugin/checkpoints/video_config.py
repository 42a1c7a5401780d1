"""The key ``sfllava`` of a model directory's config.json: how a model reads videos.

`prepare` writes it, the processor and the model read it. ``--hf-overrides '{"sfllava": {...}}'`` changes parts of it.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from sfllava_plugin import registry
from sfllava_plugin.checkpoints.formats import read_json
from sfllava_plugin.tokens.anyres import AnyRes
from sfllava_plugin.tokens.arrangement import NEWLINE_WEIGHT, Arrangement, Newline, Order, PoolPlace
from sfllava_plugin.tokens.geometry import Geometry
from sfllava_plugin.tokens.layout import ImageGrid, TokenLayout, parse
from sfllava_plugin.tokens.notation import PathwayError
from sfllava_plugin.video.fit import Fit, FitKind
from sfllava_plugin.video.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: Its name in config.json.
KEY = "sfllava"
#: Raised when the meaning of a field changes; directories of another version must be prepared again.
VERSION: Final = 1

#: The fields for users; `prepare` alone writes the others.
_SETTINGS = "frames, pathways, newline, order, pool, sampling, fit, rope, time_instruction, max_tiles"

Pathways = Annotated[TokenLayout, BeforeValidator(parse), PlainSerializer(str)]


class Pictures(BaseModel):
    """The way pictures become tokens; without canvases each is one square.

    Attributes:
        canvases: heights and widths in pixels, in the checkpoint's order.
        limit, rounding: as in `tokens.anyres.AnyRes`.
        several: several pictures in one prompt are each in ``tiles``, or a padded ``square``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    canvases: tuple[tuple[int, int], ...] = ()
    limit: int | None = None
    rounding: Literal["transformers", "program"] = "transformers"
    several: Literal["tiles", "square"] = "tiles"


class VideoConfig(BaseModel):
    """Frames, token layout and geometry of one model.

    Attributes:
        version: of these fields.
        frames: taken from a video.
        pathways: the poolings, written in their notation; read from ``native``, too.
        native: the poolings of the checkpoint's own layout for videos, if it has one.
        newline, order, pool: the arrangement of the tokens (tokens/arrangement.py).
        sampling: the choice of frames (video/sampling.py).
        fit: the way frames become squares (video/resize.py).
        max_tiles: tiles that a picture may have; 0 makes it one square, None leaves it to the checkpoint.
        pictures: canvases of pictures.
        time_instruction: whether the prompt says when each frame was taken (prompts/time_instruction.py).
        geometry: the tower's.
        weights: names of the checkpoint's weights beside tower, projector and language model.
        trained_vocab_size: rows of the weights' embedding; ids beyond them have no trained row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    version: Literal[1] = VERSION
    frames: Annotated[int, Field(strict=True)]
    pathways: Pathways
    native: Pathways | None = None
    newline: Newline = "none"
    order: Order = "slow_first"
    pool: PoolPlace = "after_projector"
    sampling: Sampling = "middles"
    fit: FitKind = "squash"
    time_instruction: Annotated[bool, Field(strict=True)] = False
    max_tiles: Annotated[int | None, Field(ge=0, strict=True)] = None
    pictures: Pictures = Pictures()
    geometry: Geometry
    weights: tuple[str, ...] = ()
    trained_vocab_size: Annotated[int, Field(ge=1, strict=True)]

    @model_validator(mode="before")
    @classmethod
    def _replace_native(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or fields.get("pathways") != registry.NATIVE:
            return fields
        if fields.get("native") is None:
            raise ValueError("this checkpoint has no native layout for videos: name the pathways")
        return fields | {"pathways": fields["native"]}

    @classmethod
    def read(cls, config: "PretrainedConfig", folder: str | os.PathLike[str]) -> "VideoConfig":
        """Read and check the key of a configuration.

        Args:
            config: as vLLM passes it. An override replaces a mapping as a whole (vLLM's config/model.py,
                `_apply_dict_overrides`), so fields it does not name are missing.
            folder: the model directory, for the missing fields.

        Raises:
            ValueError: it is missing or of another version, a value is invalid, or the layout does not fit.
        """
        found = getattr(config, KEY, None)
        if isinstance(found, dict) and "version" not in found:
            found = _own(folder) | found
        if not isinstance(found, dict) or found.get("version") != VERSION:
            raise ValueError(f"config.json has no {KEY!r} of version {VERSION}: prepare the model again")
        try:
            video = cls.model_validate(found)
        except ValidationError as error:
            raise ValueError(_first_problem(error)) from error
        most = registry.load().limits.frames
        if not 1 <= video.frames <= most:
            raise ValueError(f"{KEY}.frames must be 1 to {most}, not {video.frames!r}")
        video.check()
        return video

    def check(self) -> None:
        """Refuse a layout that the tower or the checkpoint cannot have.

        Raises:
            PathwayError: naming what does not fit.
        """
        self.layout.check(self.geometry)
        if (self.fit == "native") != self.layout.NATIVE_SIZE:
            instead = "use fit 'native'" if self.layout.NATIVE_SIZE else "use another fit"
            raise PathwayError(f"{self.pathways} does not take frames with fit {self.fit!r}: {instead}")
        if missing := set(self.layout.extra_weights) - set(self.weights):
            if NEWLINE_WEIGHT in missing and self.newline != "none":
                needs, instead = f" with newline {self.newline!r} needs the weight {NEWLINE_WEIGHT}", "newline 'none'"
            else:
                needs, instead = f" needs the weight {min(missing)}", "other pathways"
            raise PathwayError(f"{self.pathways}{needs}, and this checkpoint has none: use {instead}")

    @property
    def layout(self) -> TokenLayout:
        """The token layout: the pathways in their arrangement."""
        return self.pathways.arranged(Arrangement(self.newline, self.order, self.pool))

    @property
    def frame_fit(self) -> Fit:
        """The way frames become squares; padding has the tower's mean colour."""
        red, green, blue = (int(255 * value) for value in self.geometry.mean)
        return Fit(self.fit, (red, green, blue))

    @property
    def picture_fit(self) -> Fit:
        """The way a picture without tiles becomes a square: as frames do, where these do."""
        return replace(self.frame_fit, kind="squash") if self.fit == "native" else self.frame_fit

    def tokens(self, frames: int, size: tuple[int, int] | None = None) -> int:
        """Count the tokens of a video of ``frames`` frames: its placeholders and its embeddings alike.

        Args:
            size: height and width of the frames; without it, the size with most tokens.
        """
        return self.layout.count(frames, self.geometry, size)

    @property
    def largest_frame(self) -> tuple[int, int]:
        """Height and width of the frames of a video with most tokens."""
        side = self.geometry.image_size
        return self.layout.largest(self.geometry) if isinstance(self.layout, ImageGrid) else (side, side)

    @property
    def anyres(self) -> AnyRes | None:
        """The tiles of pictures; None if each is one square."""
        side = self.geometry.image_size
        most = float("inf") if self.max_tiles is None else self.max_tiles
        canvases = tuple(size for size in self.pictures.canvases if size[0] * size[1] <= most * side * side)
        if not canvases or NEWLINE_WEIGHT not in self.weights:
            return None
        return AnyRes(canvases, side, self.geometry.rows, self.pictures.limit, self.pictures.rounding)

    def picture_tokens(self, size: tuple[int, int], *, several: bool) -> int:
        """Count the tokens of a picture of this height and width.

        Args:
            several: whether it is one of several in its prompt.
        """
        if self.anyres is None:
            return self.geometry.patches
        if several and self.pictures.several == "square":
            return self.geometry.patches + 1
        return self.anyres.count(size)

    @property
    def largest_picture(self) -> tuple[int, int]:
        """Height and width of a picture with most tokens."""
        side = self.geometry.image_size
        return self.anyres.largest() if self.anyres else (side, side)

    @property
    def extra_weights(self) -> tuple[str, ...]:
        """The weights beside tower, projector and language model that videos and pictures need."""
        pictures = (NEWLINE_WEIGHT,) if self.anyres else ()
        return tuple(dict.fromkeys((*self.layout.extra_weights, *pictures)))


def _own(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the key from a model directory, before any override."""
    found = read_json(Path(folder) / "config.json").get(KEY)
    return found if isinstance(found, dict) else {}


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in (KEY, *problem["loc"]))
    if problem["loc"][:1] in (("lora_alpha",), ("prompts",), ("max_model_len",)):
        return f"{where}: preparing the model needs it: set it in an entry of the registry"
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
        return f"{where}: no such setting: use one of {_SETTINGS}"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
