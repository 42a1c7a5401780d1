"""The key ``sfllava`` of a model directory's config.json: how a model reads videos.

`prepare` writes it, the processor and the model read it. ``--hf-overrides '{"sfllava": {...}}'`` changes parts of it.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from sfllava_plugin import registry
from sfllava_plugin.checkpoints.formats import read_json
from sfllava_plugin.tokens.arrangement import Arrangement, Newline, Order, PoolPlace
from sfllava_plugin.tokens.geometry import Geometry
from sfllava_plugin.tokens.layout import TokenLayout, parse
from sfllava_plugin.tokens.notation import PathwayError
from sfllava_plugin.video.fit import Fit, FitKind
from sfllava_plugin.video.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: Its name in config.json.
KEY = "sfllava"
#: Raised when the meaning of a field changes; directories of another version must be prepared again.
VERSION: Final = 1

Pathways = Annotated[TokenLayout, BeforeValidator(parse), PlainSerializer(str)]


class VideoConfig(BaseModel):
    """Frames, token layout and geometry of one model.

    Attributes:
        version: of these fields.
        frames: taken from a video.
        pathways: the poolings, written in their notation.
        newline, order, pool: the arrangement of the tokens (tokens/arrangement.py).
        sampling: the choice of frames (video/sampling.py).
        fit: the way frames become squares (video/resize.py).
        time_instruction: whether the prompt says when each frame was taken (prompts/time_instruction.py).
        geometry: the tower's.
        weights: names of the checkpoint's weights beside tower, projector and language model.
        trained_vocab_size: rows of the weights' embedding; ids beyond them have no trained row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    version: Literal[1] = VERSION
    frames: Annotated[int, Field(strict=True)]
    pathways: Pathways
    newline: Newline = "none"
    order: Order = "slow_first"
    pool: PoolPlace = "after_projector"
    sampling: Sampling = "middles"
    fit: FitKind = "squash"
    time_instruction: Annotated[bool, Field(strict=True)] = False
    geometry: Geometry
    weights: tuple[str, ...] = ()
    trained_vocab_size: Annotated[int, Field(ge=1, strict=True)]

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
        if missing := set(self.layout.extra_weights) - set(self.weights):
            raise PathwayError(
                f"{self.pathways} with newline {self.newline!r} needs the weight {min(missing)}, "
                "and this checkpoint has none: use newline 'none'"
            )

    @property
    def layout(self) -> TokenLayout:
        """The token layout: the pathways in their arrangement."""
        return self.pathways.arranged(Arrangement(self.newline, self.order, self.pool))

    @property
    def frame_fit(self) -> Fit:
        """The way frames become squares; padding has the tower's mean colour."""
        red, green, blue = (int(255 * value) for value in self.geometry.mean)
        return Fit(self.fit, (red, green, blue))

    def tokens(self, frames: int) -> int:
        """Count the tokens of a video of ``frames`` frames: its placeholders and its embeddings alike."""
        return self.layout.count(frames, self.geometry)

    @property
    def image_tokens(self) -> int:
        """Tokens of an image: every patch of it."""
        return self.geometry.patches


def _own(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the key from a model directory, before any override."""
    found = read_json(Path(folder) / "config.json").get(KEY)
    return found if isinstance(found, dict) else {}


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in (KEY, *problem["loc"]))
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
