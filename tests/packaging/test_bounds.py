"""The bounds in pyproject.toml admit the locked releases, and no later series."""

import subprocess
import sys

import pytest
from packaging.utils import canonicalize_name

from sfllava_plugin import check
from tests.packaging.project import DEPENDENCIES, EXTRAS, PYTHONS, ROOT, TESTED

EVERY = [*DEPENDENCIES, *(requirement for extra in EXTRAS.values() for requirement in extra)]


@pytest.mark.parametrize("requirement", EVERY, ids=str)
def test_every_bound_admits_the_tested_release_and_ends_before_the_next(requirement):
    tested = TESTED[canonicalize_name(requirement.name).removesuffix("-cpu")]
    assert tested in requirement.specifier
    assert f"{tested.major + 1}" not in requirement.specifier


def test_the_locked_vllm_is_the_one_check_calls_tested():
    release = ".".join(str(part) for part in TESTED["vllm"].release[:2])
    assert (release,) == check.TESTED
    assert [str(EXTRAS[extra][0].specifier) for extra in ("cpu", "cuda")] == [f"=={release}.*"] * 2


def _as_python(tmp_path, release: tuple[int, int]) -> str:
    """A fake interpreter that reports another release."""
    program = f"import sys; sys.version_info = {(*release, 0)}; sys.argv.pop(0); exec(open(sys.argv[0]).read())"
    file = tmp_path / "python"
    file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{program}" "$@"\n')
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize("release", [(3, 10), (3, 14)])
def test_make_refuses_other_pythons_in_one_line(tmp_path, release):
    python = _as_python(tmp_path, release)
    command = ["make", "demo", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert said == [
        f"This Python is {release[0]}.{release[1]}, but sfllava_plugin needs {PYTHONS[0]} to {PYTHONS[-1]}: "
        f"choose another with make PYTHON=python{PYTHONS[0]}"
    ]
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("python", PYTHONS)
def test_make_accepts_every_supported_python(tmp_path, python):
    command = [_as_python(tmp_path, tuple(map(int, python.split(".")))), "packaging/check_python.py"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0
