"""The public names of sfllava_plugin.video, which are imported on first use."""

import subprocess
import sys

import pytest

from sfllava_plugin import video


def test_every_public_name_can_be_imported():
    from sfllava_plugin.video import errors, frames, isolated, sampling

    assert video.read_video is isolated.read_video
    assert (video.Video, video.VideoError) == (frames.Video, errors.VideoError)
    assert video.sample_indices is sampling.sample_indices
    assert set(video.__all__) <= set(dir(video))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'sfllava_plugin.video' has no attribute 'no_such_name'"):
        _ = video.no_such_name


def test_importing_the_package_or_the_worker_does_not_load_the_pool():
    program = "import sys, sfllava_plugin.video.isolation.worker, sfllava_plugin.video.decode\n"
    program += "print([name for name in sys.modules if name.endswith(('.isolated', '.pool', '.worker_process'))])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "sfllava_plugin" not in done.stdout
