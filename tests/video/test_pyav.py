"""An unsupported PyAV is refused, and not blamed on the video."""

import tomllib
from pathlib import Path

import pytest

from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.readers import pyav_file


@pytest.mark.parametrize("version", ["14.4.0", "16.1.0", "18.1.0", "19.0.2"])
def test_an_unsupported_pyav_is_refused_by_version(bikes, monkeypatch, version):
    monkeypatch.setattr("av.__version__", version)
    with pytest.raises(
        pyav_file.UnsupportedPyAV, match=rf"PyAV {version} is not supported; run pip install 'av>=15,<16'"
    ):
        decode(bikes, num_frames=1, image_size=8)


def test_a_changed_library_is_not_blamed_on_the_video(bikes, monkeypatch):
    # PyAV 19 dropped an argument.
    monkeypatch.setattr("av.open", lambda file: None)
    with pytest.raises(TypeError, match="unexpected keyword"):
        decode(bikes, num_frames=1, image_size=8)


def test_the_supported_pyav_is_the_one_the_package_depends_on():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert pyav_file.SUPPORTED in project["dependencies"]
