"""A built wheel works without the source, and contains every file."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.packaging.project import ROOT

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The unpacked wheel, built from the source distribution as an installer would."""
    built = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, "-m", "uv", "build", "--quiet", "-o", built], cwd=ROOT, check=True, timeout=300)
    (file,) = built.glob("*.whl")
    zipfile.ZipFile(file).extractall(built / "unpacked")
    return built / "unpacked"


def test_the_wheel_contains_every_tracked_file(wheel):
    listed = ["git", "ls-files", "sfllava_plugin", "models", "registry.yaml"]
    tracked = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    inside = [name if name.startswith("sfllava_plugin/") else f"sfllava_plugin/{name}" for name in tracked]
    assert len(inside) > 50
    assert "sfllava_plugin/py.typed" in inside
    assert [name for name in inside if not (wheel / name).is_file()] == []


def test_the_wheel_lists_and_prepares_models(wheel, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(wheel)}

    def sfllava(*arguments: str) -> str:
        command = [sys.executable, "-P", "-m", "sfllava_plugin.cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [sys.executable, "-P", "-c", "import sfllava_plugin; print(sfllava_plugin.__file__)"]
    assert str(wheel) in subprocess.run(where, env=environment, capture_output=True, text=True).stdout
    assert "sf-llava-tiny" in sfllava("models")
    assert str(tmp_path / "made") in sfllava("prepare", "sf-llava-tiny", "-o", str(tmp_path / "made"))
