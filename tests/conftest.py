"""Shared fixtures. Environment variables are set before the package is imported."""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# Tests neither see nor change the user's caches and registry, and never access the network.
_SCRATCH = Path(tempfile.mkdtemp(prefix="sfllava-tests-"))
atexit.register(shutil.rmtree, _SCRATCH, ignore_errors=True)
os.environ["SFLLAVA_CACHE"] = str(_SCRATCH / "cache")
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(_SCRATCH / "hypothesis")
os.environ["VLLM_CACHE_ROOT"] = str(_SCRATCH / "vllm")
os.environ["HF_HOME"] = str(_SCRATCH / "hf")
for _variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "SFLLAVA_REGISTRY"):
    os.environ.pop(_variable, None)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# Shells start background jobs with SIGINT ignored, and processes that tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline, because the machine may be busy. The same examples every time, so that a failure is due to the change at
# hand. To try new ones: pytest --hypothesis-profile random.
settings.register_profile("random", deadline=None)
settings.register_profile("tests", derandomize=True, deadline=None)
settings.load_profile("tests")

from sfllava_plugin.video.readers import decord_reader  # noqa: E402
from tests import without_torch  # noqa: E402
from tests.videos import CLIPS  # noqa: E402

pytest_plugins = ["tests.without_gpu"]
collect_ignore = without_torch.FILES
pytest_terminal_summary = without_torch.report

_TESTS = Path(__file__).parent
#: Marks of whole folders, so that a new file there never slips into the fast set.
_FOLDER_MARKS = {"doors": "slow", "faults": "hostile"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.path.is_relative_to(_TESTS):
            mark = _FOLDER_MARKS.get(item.path.relative_to(_TESTS).parts[0])
            if mark:
                item.add_marker(mark)
        # The fixture of `vllm serve` is called so in every file that has one.
        if "server" in getattr(item, "fixturenames", ()):
            item.add_marker("server")
    without_torch.deselect(config, items)


@pytest.fixture(scope="session")
def small_hf(tmp_path_factory) -> Path:
    """A Vicuna checkpoint in llava-hf's format: random weights, 6 x 6 patches."""
    # Imported here because it loads torch and transformers, which most tests do not need.
    from examples.random_checkpoint import SMALL, write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("small-hf"), geometry=SMALL)


@pytest.fixture(scope="session")
def small_original(tmp_path_factory) -> Path:
    """The same weights in liuhaotian's format."""
    from examples.random_checkpoint import SMALL, write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("small-original"), geometry=SMALL, layout="original")


@pytest.fixture(scope="session")
def bikes() -> Path:
    """A real MP4: H.264, 640x272, 250 frames at 25 fps, index last."""
    return CLIPS / "bikes.mp4"


@pytest.fixture
def without_decord(monkeypatch):
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)


@pytest.fixture
def with_decord():
    pytest.importorskip("decord")
