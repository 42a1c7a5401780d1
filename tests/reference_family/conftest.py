"""Small checkpoints, each written once."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Callable[..., Path]:
    """Write a checkpoint, tiny by default, and return its folder."""
    # Imported here because a Python without torch reads this file, too.
    import torch

    from tests.reference_family import checkpoints, sizes

    @functools.cache
    def write(kind: str, *, real: bool = False, **options) -> Path:
        side = (sizes.REAL_SIZE if real else sizes.TINY_SIZE)[sizes.TOWER_OF[kind]]
        folder = tmp_path_factory.mktemp("family") / kind
        return checkpoints.write(folder, kind, image_size=options.pop("image_size", side), **options)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield write
    torch.set_num_threads(threads)


@pytest.fixture
def video() -> Callable[[int, int], np.ndarray]:
    """Return frames that differ: uint8 [T, S, S, 3]."""

    def frames(count: int, side: int) -> np.ndarray:
        return np.random.default_rng(side).integers(0, 256, (count, side, side, 3)).astype(np.uint8)

    return frames
