"""What several test files share. The variables are set before anything of ours is imported."""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# A test run neither sees nor changes the user's caches and registry, and never reaches the network.
_SCRATCH = Path(tempfile.mkdtemp(prefix="sfllava-tests-"))
atexit.register(shutil.rmtree, _SCRATCH, ignore_errors=True)
os.environ["SFLLAVA_CACHE"] = str(_SCRATCH / "cache")
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(_SCRATCH / "hypothesis")
os.environ["HF_HOME"] = str(_SCRATCH / "hf")
for _variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "SFLLAVA_REGISTRY"):
    os.environ.pop(_variable, None)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# A shell starts its background jobs with Ctrl-C ignored, and so would be the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No timing: the machine may be busy. The same examples every time, so that a failure is of the change at hand; to look
# for new ones: pytest --hypothesis-profile random.
settings.register_profile("random", deadline=None)
settings.register_profile("tests", derandomize=True, deadline=None)
settings.load_profile("tests")

from sfllava_plugin.video.readers import decord_reader  # noqa: E402
from tests import without_torch  # noqa: E402
from tests.videos import CLIPS  # noqa: E402

pytest_plugins = ["tests.without_gpu"]
collect_ignore = without_torch.FILES
pytest_collection_modifyitems = without_torch.deselect
pytest_terminal_summary = without_torch.report


@pytest.fixture(scope="session")
def small_hf(tmp_path_factory) -> Path:
    """A vicuna checkpoint with random weights, as the llava-hf repositories have it: a grid of 6x6 patches."""
    # Here, because it loads torch and transformers, which most tests do without.
    from examples.random_checkpoint import SMALL, write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("small-hf"), geometry=SMALL)


@pytest.fixture(scope="session")
def small_original(tmp_path_factory) -> Path:
    """The same weights as the liuhaotian repositories have them."""
    from examples.random_checkpoint import SMALL, write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("small-original"), geometry=SMALL, layout="original")


@pytest.fixture(scope="session")
def bikes() -> Path:
    """A real video, 640x272, 250 frames, 25 fps, h264, its index at the end."""
    return CLIPS / "bikes.mp4"


@pytest.fixture
def without_decord(monkeypatch):
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)


@pytest.fixture
def with_decord():
    pytest.importorskip("decord")
