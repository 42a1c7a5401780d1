"""Engines for the tests: in this process, in float32, kept for the session."""

import os

# Before vllm is imported.
os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    VLLM_LOGGING_LEVEL="ERROR",
    VLLM_NO_USAGE_STATS="1",
    # Keeps the activations of quantised models in bfloat16; 8-bit activations would change the answers.
    VLLM_CPU_INT4_W4A8="0",
)

import json

import pytest
from PIL import Image

from examples.random_checkpoint import REAL_GRID, write_checkpoint
from sfllava_plugin.video.decode import decode
from tests.engine.support import KV_CACHE


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """checkpoints(family, layout): the folder of a random checkpoint of real geometry."""
    written = {}

    def write(family="vicuna", layout="hf"):
        if (family, layout) not in written:
            folder = tmp_path_factory.mktemp(f"{family}-{layout}")
            written[family, layout] = write_checkpoint(folder, family=family, layout=layout, geometry=REAL_GRID)
        return written[family, layout]

    return write


@pytest.fixture(scope="session")
def runners(checkpoints):
    """runners(family, layout, **engine arguments): an engine in float32."""
    from sfllava_plugin.engine.offline import Runner

    started = {}

    def start(family="vicuna", layout="hf", **arguments):
        key = json.dumps([family, layout, arguments], sort_keys=True)
        if key not in started:
            settings = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": KV_CACHE} | arguments
            started[key] = Runner(str(checkpoints(family, layout)), settings)
        return started[key]

    return start


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """written(case): the folder of a random checkpoint of any family, with the real grid."""
    from tests.reference_family import checkpoints

    done = {}

    def write(case):
        key = (case.kind, case.family)
        if key not in done:
            done[key] = checkpoints.write(tmp_path_factory.mktemp(case.kind), case.kind, family=case.family)
        return done[key]

    return write


@pytest.fixture(scope="session")
def family_runner(written, tmp_path_factory):
    """family_runner(case, **engine arguments): an engine in float32."""
    from sfllava_plugin.checkpoints.prepare import prepare
    from sfllava_plugin.engine.offline import Runner
    from sfllava_plugin.registry import Entry

    started = {}

    def start(case, **arguments):
        key = f"{case} {arguments}"
        if key not in started:
            entry = Entry(name="tested", checkpoint=str(written(case)), **case.settings)
            directory = prepare(entry, tmp_path_factory.mktemp("prepared") / "model")
            settings = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": KV_CACHE} | arguments
            started[key] = Runner(str(directory), settings)
        return started[key]

    return start


@pytest.fixture(scope="session")
def tiny():
    """The packaged model, for the session.

    Closing one engine destroys the process groups of the others.
    """
    from sfllava_plugin.engine.offline import Runner

    return Runner("sf-llava-tiny", {"kv_cache_memory_bytes": KV_CACHE})


@pytest.fixture(scope="session")
def clips(bikes, tmp_path_factory):
    """clips(T): a folder of images, exactly T frames of a real clip."""
    written = {}
    source = decode(bikes, num_frames=60, image_size=120).frames

    def write(count):
        if count not in written:
            folder = tmp_path_factory.mktemp(f"frames-{count}")
            for i in range(count):
                Image.fromarray(source[i * len(source) // count]).save(folder / f"{i:04}.png")
            written[count] = folder
        return str(written[count])

    return write
