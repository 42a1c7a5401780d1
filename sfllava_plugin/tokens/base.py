"""The base of every token layout: its contract, and what those share that pool frames."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

from sfllava_plugin.tokens import arrangement as arrangements
from sfllava_plugin.tokens.anyres import Size
from sfllava_plugin.tokens.arrangement import NEWLINE_WEIGHT, Arrangement, Part
from sfllava_plugin.tokens.geometry import Grid

if TYPE_CHECKING:
    import torch

    from sfllava_plugin.tokens.pooling import Projection


@dataclass(frozen=True)
class TokenLayout(ABC):
    """A way from frames to tokens; ``str(layout)`` is its notation.

    Attributes:
        FORMS: its notation in words, for error messages.
        NATIVE_SIZE: whether it takes frames of any size (the fit ``native``), and its counts depend on it. All others
            take squares of the tower's size, and ignore sizes.
        arrangement: order, separators and the place of the pooling; not part of the notation.
    """

    FORMS: ClassVar[tuple[str, ...]] = ()
    NATIVE_SIZE: ClassVar[bool] = False

    arrangement: Arrangement = field(default=Arrangement(), kw_only=True)

    @classmethod
    @abstractmethod
    def from_notation(cls, text: str) -> "TokenLayout | None":
        """Read the notation, or return None if it is another layout's.

        Raises:
            PathwayError: it is this layout's, with a value that does not exist.
        """

    @abstractmethod
    def check(self, grid: Grid) -> None:
        """Refuse a tower or an arrangement that this layout is not defined for.

        Raises:
            PathwayError: naming the layout, and the tower's grid or the setting.
        """

    @abstractmethod
    def count(self, frames: int, grid: Grid, size: Size | None = None) -> int:
        """Count the tokens of a video, separators included.

        Args:
            frames: of the video.
            grid: the tower's.
            size: height and width of its frames; without it, the size with most tokens.
        """

    @abstractmethod
    def tokens(
        self,
        chunks: "Iterable[torch.Tensor]",
        frames: int,
        grid: Grid,
        project: "Projection",
        extra: "Mapping[str, torch.Tensor]",
        size: Size | None = None,
    ) -> "torch.Tensor":
        """Make a video's tokens from the features of its pictures.

        Args:
            chunks: features of a few pictures each, in the order of `compose`: [C, patches, D], patches in row-major
                order.
            frames, grid, size: as in `count`.
            project: an affine map [..., D] -> [..., E]; with pooling before the projector, the whole projector.
            extra: the weights named in `extra_weights`.

        Returns:
            [count(frames, grid, size), E].
        """

    @property
    @abstractmethod
    def extra_weights(self) -> tuple[str, ...]:
        """The checkpoint's weights it needs besides tower and projector, by name."""

    def arranged(self, arrangement: Arrangement) -> Self:
        """Return this layout in another arrangement."""
        return replace(self, arrangement=arrangement)

    def slow_frames(self, frames: int) -> list[int]:
        """List the positions of frames kept in detail beside a coarser pathway."""
        return []

    def pictures(self, frames: int, grid: Grid, size: Size | None = None) -> int:
        """Count the pictures that the tower sees of a video; arguments as in `count`."""
        return frames

    def compose(self, frames: "torch.Tensor") -> "Sequence[torch.Tensor]":
        """Compose the pictures that the tower sees: batches of [N, S, S, 3], 0 to 255.

        A batch of frames stays uint8; composed ones are float32 and not rounded, so that normalising them, an affine
        map, is the same as composing normalised frames.

        Args:
            frames: uint8 [T, S, S, 3].
        """
        return [frames]


@dataclass(frozen=True)
class PooledLayout(TokenLayout):
    """A layout of pooled frames.

    Attributes:
        FRAME_END: the weight that follows each pooled frame, by name.
    """

    FRAME_END: ClassVar[str | None] = None

    @abstractmethod
    def parts(self, frames: int, grid: Grid) -> Sequence[Part]:
        """Describe the pooled frames of a video of ``frames`` frames, pathway by pathway."""

    @abstractmethod
    def pooled(
        self, chunks: "Iterable[torch.Tensor]", frames: int, grid: Grid, project: "Projection"
    ) -> "Sequence[torch.Tensor]":
        """Pool the features of a video's pictures, as `parts` describes them.

        Args:
            chunks: as in `tokens`. A chunk is let go once it is pooled.
            frames: frames of the video.
            grid: the tower's.
            project: an affine map [..., D] -> [..., E]. It commutes with every average, so layouts apply it after
                averages and before maxima: the same tokens for less work.

        Returns:
            For each part, [N, rows * columns, E].
        """

    @property
    def extra_weights(self) -> tuple[str, ...]:
        newline = () if self.arrangement.newline == "none" else (NEWLINE_WEIGHT,)
        return newline + ((self.FRAME_END,) if self.FRAME_END else ())

    def count(self, frames: int, grid: Grid, size: Size | None = None) -> int:
        parts = self.parts(frames, grid)
        ends = sum(len(part.frames) for part in parts) if self.FRAME_END else 0
        return arrangements.count(parts, self.arrangement) + ends

    def tokens(
        self,
        chunks: "Iterable[torch.Tensor]",
        frames: int,
        grid: Grid,
        project: "Projection",
        extra: "Mapping[str, torch.Tensor]",
        size: Size | None = None,
    ) -> "torch.Tensor":
        if self.arrangement.pool == "before_projector":
            pooled = [project(part) for part in self.pooled(chunks, frames, grid, lambda features: features)]
        else:
            pooled = list(self.pooled(chunks, frames, grid, project))
        newline = None if self.arrangement.newline == "none" else extra[NEWLINE_WEIGHT]
        frame_end = extra[self.FRAME_END] if self.FRAME_END else None
        return arrangements.arrange(self.parts(frames, grid), pooled, self.arrangement, newline, frame_end)
