"""Token layouts: which tokens of which frames the language model reads.

A layout is data with a notation, ``slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4`` for one. The number of tokens
follows from the layout, the number of frames and the tower's grid, so the prompt is complete before the tower runs.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sfllava_plugin.tokens.anyres import Size
from sfllava_plugin.tokens.arrangement import Arrangement
from sfllava_plugin.tokens.base import TokenLayout
from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.grids import Grids
from sfllava_plugin.tokens.image_grid import ImageGrid
from sfllava_plugin.tokens.interleaved import Interleaved
from sfllava_plugin.tokens.notation import PathwayError
from sfllava_plugin.tokens.single import Single
from sfllava_plugin.tokens.slowfast import Fast, Slow, SlowFast
from sfllava_plugin.tokens.thumbnail import Thumbnail

if TYPE_CHECKING:
    import torch

    from sfllava_plugin.tokens.pooling import Projection

__all__ = [
    "DEFAULT",
    "LAYOUTS",
    "Arrangement",
    "Fast",
    "Grids",
    "ImageGrid",
    "Interleaved",
    "Single",
    "Slow",
    "SlowFast",
    "Thumbnail",
    "TokenLayout",
    "expected",
    "parse",
    "video_tokens",
]

#: Every kind of layout, in the order in which notations are tried.
LAYOUTS: tuple[type[TokenLayout], ...] = (SlowFast, Single, Interleaved, Thumbnail, Grids, ImageGrid)

#: The paper's.
DEFAULT: TokenLayout = SlowFast(Slow(10, "spatial_1d_max_pool"), Fast(4, 4))


def expected() -> str:
    """Describe what `parse` accepts, for error messages."""
    first, *others = (form for layout in LAYOUTS for form in layout.FORMS)
    return f"{first}, or {', '.join(others)}"


def parse(value: "str | dict[str, Any] | TokenLayout") -> TokenLayout:
    """Read a layout from its notation or from a mapping.

    Args:
        value: a notation, or
            ``{"slow": {"frames": 10, "pool": "spatial_1d_max_pool"}, "fast": {"height": 4, "width": 4}}``.

    Raises:
        PathwayError: naming what was found and what is accepted.
    """
    if isinstance(value, LAYOUTS):
        return value
    if isinstance(value, str):
        found = (layout.from_notation(value) for layout in LAYOUTS)
        if chosen := next(filter(None, found), None):
            return chosen
        raise PathwayError(f"unknown pathway {value!r}: use {expected()}")
    if isinstance(value, dict) and set(value) == {"slow", "fast"}:
        return SlowFast.from_mapping(value)
    raise PathwayError(f"unknown pathways {value!r}: use {expected()}, or a mapping of slow and fast")


def video_tokens(
    features: "torch.Tensor",
    pathways: "str | dict[str, Any] | TokenLayout",
    project: "Projection | None" = None,
    *,
    grid: Grid | None = None,
    extra: "Mapping[str, torch.Tensor] | None" = None,
    frames: int | None = None,
    size: Size | None = None,
) -> "torch.Tensor":
    """Pool the features of a video's frames into its tokens (paper, section 3).

    Args:
        features: [N, patches, D], the patches of each picture in row-major order. Most layouts show the tower the
            frames themselves; `TokenLayout.compose` makes the pictures of the others.
        pathways: a layout, or what `parse` reads.
        project: an affine map of the last dimension, [..., D] -> [..., E]; none by default.
        grid: the patches of a frame; a square by default.
        extra: weights of the checkpoint that the layout needs, by name.
        frames: T, if it is not N.
        size: height and width of the frames, for layouts whose counts depend on it.

    Returns:
        [tokens, E].

    Raises:
        PathwayError: the layout does not exist, does not fit the grid, has another number of pictures, or needs a
            weight that is not in ``extra``.
    """
    layout, grid = parse(pathways), grid or Grid.square(features.shape[1])
    layout.check(grid)
    if missing := set(layout.extra_weights) - set(extra or {}):
        raise PathwayError(f"{layout} needs the weight {min(missing)} in extra")
    frames = len(features) if frames is None else frames
    if (needed := layout.pictures(frames, grid, size)) != len(features):
        raise PathwayError(f"{layout} of {frames} frames takes the features of {needed} pictures, not {len(features)}")
    return layout.tokens([features], frames, grid, project or (lambda tokens: tokens), extra or {}, size)
