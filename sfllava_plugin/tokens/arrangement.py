"""The order of pooled frames in a video's tokens, and the separators between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from sfllava_plugin.tokens.notation import PathwayError

if TYPE_CHECKING:
    import torch

Newline = Literal["none", "end", "frames", "rows"]
Order = Literal["slow_first", "time"]
PoolPlace = Literal["after_projector", "before_projector"]

#: The weight that ends a row, a frame or a video; the name it has in every checkpoint.
NEWLINE_WEIGHT = "image_newline"
#: The weight after each frame of `interleaved.Interleaved`.
FASTER_WEIGHT = "faster_token"


@dataclass(frozen=True)
class Arrangement:
    """What a checkpoint was trained with, apart from the pooling.

    Attributes:
        newline: where the vector ``image_newline`` stands: nowhere, after the video's last token, after each pooled
            frame, or after each row of each pooled frame (LLaVA-NeXT's ``mm_newline_position``).
        order: all slow tokens before all fast ones (paper, section 3.2), or frame by frame.
        pool: the place of the pooling, after the projector or before it. The two differ: there is a GELU between.
    """

    newline: Newline = "none"
    order: Order = "slow_first"
    pool: PoolPlace = "after_projector"

    def __post_init__(self) -> None:
        for name, values in (("newline", Newline), ("order", Order), ("pool", PoolPlace)):
            if getattr(self, name) not in get_args(values):
                choices = ", ".join(get_args(values))
                raise PathwayError(f"unknown {name} {getattr(self, name)!r}: use one of {choices}")


@dataclass(frozen=True)
class Part:
    """Frames that are pooled alike.

    Attributes:
        frames: the position of each in the video, 0 to T - 1; a short video repeats some.
        rows, columns: tokens of each frame.
    """

    frames: tuple[int, ...]
    rows: int
    columns: int


def count(parts: Sequence[Part], arrangement: Arrangement) -> int:
    """Count the tokens of a video, separators included."""
    tokens = 0
    for part in parts:
        newlines = {"rows": part.rows, "frames": 1}.get(arrangement.newline, 0)
        tokens += len(part.frames) * (part.rows * part.columns + newlines)
    return tokens + (arrangement.newline == "end")


def arrange(
    parts: Sequence[Part],
    pooled: "Sequence[torch.Tensor]",
    arrangement: Arrangement,
    newline: "torch.Tensor | None",
    frame_end: "torch.Tensor | None" = None,
) -> "torch.Tensor":
    """Put pooled frames into their order, with separators.

    Args:
        parts: what was pooled.
        pooled: for each part its frames, [N, rows * columns, E].
        newline: the vector ``image_newline``, [E], if the arrangement has any.
        frame_end: a vector after each frame and its newlines, [E], if the layout has any.

    Returns:
        [count(parts, arrangement), E], and a token more per frame with ``frame_end``.
    """
    import torch

    ended = [_end(frames, part, arrangement.newline, newline) for part, frames in zip(parts, pooled, strict=True)]
    if frame_end is not None:
        ends = frame_end.to(ended[0]).view(1, 1, -1)
        ended = [torch.cat([frames, ends.expand(len(frames), -1, -1)], dim=1) for frames in ended]
    if arrangement.order == "time" and len(parts) > 1:
        places = [(frame, at, i) for at, part in enumerate(parts) for i, frame in enumerate(part.frames)]
        tokens = torch.cat([ended[at][i] for _, at, i in sorted(places)])
    else:
        tokens = torch.cat([frames.flatten(0, 1) for frames in ended])
    if arrangement.newline == "end" and newline is not None:
        tokens = torch.cat([tokens, newline.to(tokens).view(1, -1)])
    return tokens


def _end(frames: "torch.Tensor", part: Part, where: Newline, newline: "torch.Tensor | None") -> "torch.Tensor":
    """Append the newline to each frame or each of its rows: [N, rows * columns, E] -> [N, tokens, E]."""
    import torch

    if newline is None or where in ("none", "end"):
        return frames
    number, _, width = frames.shape
    rows = frames.view(number, part.rows, part.columns, width) if where == "rows" else frames.unsqueeze(1)
    ends = newline.to(frames).expand(number, rows.shape[1], 1, width)
    return torch.cat([rows, ends], dim=2).flatten(1, 2)
