"""Limits on the cost of a video or request, with reasons.

An operator sets them under ``limits`` in the file named by SFLLAVA_REGISTRY; a request never can. This module only
holds the numbers. video/decode.py enforces those on files, video/isolation/ those on decoding, and engine/ the rest.
"""

import os
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_HALF_THE_CORES = max(2, min(8, (os.cpu_count() or 2) // 2))

Count = Annotated[int, Field(ge=1, strict=True)]
#: Bounded, because system timers overflow.
Seconds = Annotated[float, Field(gt=0, le=10**7)]


class Limits(BaseModel):
    """Limits by name. `sfllava limits` prints the descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frames: Count = Field(1024, description="frames per video; 350 MB at 336 x 336, 450 MB at 384 x 384")
    videos: Count = Field(8, description="videos per prompt, if the context holds that many")
    pixels: Count = Field(8192 * 4320, description="width x height of a frame, checked before decoding; 8K video")
    duration_seconds: Seconds = Field(6 * 3600, description="length of a video; longer than in any benchmark")
    file_bytes: Count = Field(4 * 2**30, description="size of a video file; a server holds each one it reads in memory")
    decode_seconds: Seconds = Field(
        120, description="time to decode a video; an hour of video without an index takes minutes"
    )
    quick_seconds: Seconds = Field(
        10, description="decoding time after which a server treats a video as slow; slow ones leave one decoder free"
    )
    wait_seconds: Seconds = Field(
        60, description="time a video on a server waits for a free decoder before the answer is 503"
    )
    decode_bytes: Annotated[Count, Field(ge=2**28)] = Field(
        4 * 2**30, description="memory of a decoding process; 8K video takes 2 GB"
    )
    decoders: Count = Field(_HALF_THE_CORES, description="videos decoded at once; the other cores serve the engine")
    cached_videos: Count = Field(
        16, description="videos whose tokens the engine keeps for further questions; 30 to 100 MB each with a 7B model"
    )
    look_ahead: Count = Field(
        _HALF_THE_CORES + 2, description="videos of a job decoded ahead of the engine; 17 MB for 50 frames of 336 x 336"
    )


DEFAULTS = Limits()
