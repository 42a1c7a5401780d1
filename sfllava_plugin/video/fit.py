"""The ways in which frames of any shape become squares; resize.py does it."""

from dataclasses import dataclass
from typing import Literal

FitKind = Literal["squash", "crop", "pad", "shrink_crop", "native"]


@dataclass(frozen=True)
class Fit:
    """The way a frame of any shape becomes a square; PIL's bicubic filter in each.

    Attributes:
        kind: ``squash`` ignores the aspect ratio (SlowFast-LLaVA, and every checkpoint with a SigLIP tower). ``crop``
            resizes the shorter side and takes the centre (transformers' CLIPImageProcessor). ``pad`` puts the frame in
            the centre of a square and resizes that (LLaVA-1.5's program). ``shrink_crop`` first shrinks large frames to
            640 pixels, then crops (PLLaVA's program): two resamplings. ``native`` leaves frames as they are (IG-VLM,
            which makes one picture of them).
        fill: the colour of the padding, RGB.
    """

    kind: FitKind = "squash"
    fill: tuple[int, int, int] = (0, 0, 0)


SQUASH = Fit()
