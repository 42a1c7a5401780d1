"""The inputs on disk, and sf-llava-tiny in this process."""

import os

# Before vllm is imported.
os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    VLLM_LOGGING_LEVEL="ERROR",
    VLLM_NO_USAGE_STATS="1",
)

from types import SimpleNamespace

import pytest

from tests.faults import inputs


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with every input of the table."""
    folder, pictures = tmp_path_factory.mktemp("inputs"), inputs.frames()
    for video in inputs.VIDEOS:
        video.write(folder / video.name, pictures)
    return folder


@pytest.fixture(scope="session")
def tiny():
    """The model sf-llava-tiny, one runner for the session.

    An engine that ends destroys the process groups of all others.
    """
    from sfllava_plugin.engine.offline.runner import Runner

    return Runner("sf-llava-tiny", {"kv_cache_memory_bytes": 64 * 2**20})


@pytest.fixture(scope="session")
def good():
    """The question about every video, and its right answer."""
    return SimpleNamespace(question=inputs.QUESTION.text, answer=inputs.QUESTION.answer)


@pytest.fixture
def command_environment():
    """The environment of users: engines run in processes of their own."""
    return {name: value for name, value in os.environ.items() if name != "VLLM_ENABLE_V1_MULTIPROCESSING"}
