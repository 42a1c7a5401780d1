"""How much one video or one request may cost: every limit, its default and the reason for it.

An operator changes them under ``limits`` in the file that the variable SFLLAVA_REGISTRY names; a request never can.
They are checked where a video is read (frames.py), where it is decoded (decoder_pool.py) and where it meets the engine
(engine/). This module only holds the numbers.
"""

import os
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_HALF_OF_THE_CORES = max(2, min(8, (os.cpu_count() or 2) // 2))

Count = Annotated[int, Field(ge=1, strict=True)]
#: At most what a timer of the system takes without a thought.
Seconds = Annotated[float, Field(gt=0, le=10**7)]


class Limits(BaseModel):
    """Limits by name; a description says what is limited, and why as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frames: Count = Field(1024, description="frames of a video; 350 MB at 336 x 336, and no context holds more")
    videos: Count = Field(8, description="videos in a prompt, if as many fit the context")
    pixels: Count = Field(8192 * 4320, description="width x height of a frame, read before any is decoded; 8K video")
    duration_seconds: Seconds = Field(6 * 3600, description="length of a video; longer than those of any benchmark")
    file_bytes: Count = Field(
        4 * 2**30, description="size of a video; a server holds one in memory for each that it reads"
    )
    decode_seconds: Seconds = Field(120, description="time to decode a video; an hour without an index takes minutes")
    quick_seconds: Seconds = Field(
        10, description="time after which a video on a server is a slow one; these leave a decoder to the others"
    )
    wait_seconds: Seconds = Field(
        60, description="time that a video on a server waits for a decoder; then the answer is 503"
    )
    decode_bytes: Annotated[Count, Field(ge=2**28)] = Field(
        4 * 2**30, description="memory of a process that decodes; 8K video takes 2 GB"
    )
    decoders: Count = Field(_HALF_OF_THE_CORES, description="videos decoded at once; the other cores serve the engine")
    cached_videos: Count = Field(
        16, description="videos whose tokens the engine keeps for further questions; 30 MB each with a 7B model"
    )
    look_ahead: Count = Field(
        _HALF_OF_THE_CORES + 2, description="videos of a job that wait decoded for the engine; 17 MB each"
    )


DEFAULTS = Limits()
