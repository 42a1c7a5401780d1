"""Settle how a model reads videos: an entry's settings, and the checkpoint's own for all it leaves out."""

from dataclasses import dataclass

from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.registry import NATIVE, Entry
from sfllava_plugin.tokens.arrangement import Newline, Order, PoolPlace
from sfllava_plugin.tokens.layout import DEFAULT, TokenLayout, parse
from sfllava_plugin.video.fit import FitKind
from sfllava_plugin.video.sampling import Sampling


@dataclass(frozen=True)
class Native:
    """The settings a family of checkpoints was trained with.

    Attributes:
        frames: of a video.
        pathways: a notation; None for families trained on images alone, which get the paper's.
        newline, order, pool, sampling, fit, time_instruction: as in `video_config.VideoConfig`.
        lora_alpha: the weight of adapters in the files (adapters.py); None for families that have none.
    """

    frames: int
    pathways: str | None
    newline: Newline = "none"
    order: Order = "slow_first"
    pool: PoolPlace = "after_projector"
    sampling: Sampling = "linspace"
    fit: FitKind = "squash"
    time_instruction: bool = False
    lora_alpha: float | None = None


@dataclass(frozen=True)
class Settings:
    """The settings of one model, none left out."""

    frames: int
    pathways: TokenLayout
    native: TokenLayout | None
    newline: Newline
    order: Order
    pool: PoolPlace
    sampling: Sampling
    fit: FitKind
    time_instruction: bool
    rope: str
    max_model_len: int | None
    lora_alpha: float | None


def settle(entry: Entry, native: Native, family: str) -> Settings:
    """Complete an entry's settings by those of its family.

    Raises:
        CheckpointError: the entry asks for a native layout or for merged adapters, and the family has none.
    """
    if entry.pathways == NATIVE and native.pathways is None:
        raise CheckpointError(
            f"{entry.name}: {family} was trained on images and has no native layout for videos: name the pathways"
        )
    if entry.lora_alpha is not None and native.lora_alpha is None:
        raise CheckpointError(
            f"{entry.name}: lora_alpha weighs adapters in the checkpoint's files, and {family} has none: leave it out"
        )
    pathways = entry.pathways
    if pathways is None or isinstance(pathways, str):
        pathways = parse(native.pathways or DEFAULT)
    return Settings(
        frames=entry.frames or native.frames,
        pathways=pathways,
        native=parse(native.pathways) if native.pathways else None,
        newline=entry.newline or native.newline,
        order=entry.order or native.order,
        pool=entry.pool or native.pool,
        sampling=entry.sampling or native.sampling,
        fit=entry.fit or native.fit,
        time_instruction=native.time_instruction if entry.time_instruction is None else entry.time_instruction,
        rope=entry.rope or "checkpoint",
        max_model_len=entry.max_model_len,
        lora_alpha=native.lora_alpha if entry.lora_alpha is None else entry.lora_alpha,
    )
