"""Every extra resolves to tested releases, on every Python.

Nothing is installed.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.packaging.project import DEPENDENCIES, LOCK, PYTHONS, ROOT, TESTED, pins

pytestmark = pytest.mark.network

ON_GPU = ["cuda", "cuda,eval", "cuda,eval,ray"]
ON_CPU = ["cpu", "cpu,eval", "cpu,eval,ray", "cpu,eval,ray,dev,docs"]
# These change results or interfaces from one minor release to the next.
CLOSELY = {"vllm", "torch", "transformers", "lmms-eval"}
DIRECT = {canonicalize_name(requirement.name) for requirement in DEPENDENCIES} | {"vllm", "lmms-eval", "ray"}


def resolve(python: str, extras: str, *options: str) -> str:
    """Resolve extras with uv, for Linux."""
    # The CPU build of torch is not on PyPI, so the overrides pin torch's release.
    options += ("--override", "requirements/overrides.txt") if "cpu" in extras else ()
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--quiet", "--no-header"]
    command += ["--no-annotate", "--python-version", python, "--python-platform", "x86_64-manylinux_2_28", *options]
    command += [argument for extra in extras.split(",") for argument in ("--extra", extra)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def resolved():
    """All resolutions, several at a time, as the index is slow."""
    pool = ThreadPoolExecutor(6)
    cases = [(python, extras) for python in PYTHONS for extras in ON_GPU + ON_CPU]
    cases += [(python, ON_CPU[-1], "--constraint", str(LOCK)) for python in PYTHONS]
    yield {case: pool.submit(resolve, *case) for case in cases}
    pool.shutdown(cancel_futures=True)


def series(name: str, version: Version) -> tuple[int, ...]:
    """The part of a version that must match the tested release."""
    return version.release[: 2 if name in CLOSELY else 1]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extras", ON_GPU + ON_CPU)
def test_extras_resolve_to_tested_releases(resolved, python, extras):
    chosen = pins(resolved[python, extras].result())
    assert {"vllm", "torch", "transformers", "av"} <= chosen.keys()
    assert ("eval" in extras) == ("lmms-eval" in chosen)
    names = DIRECT & chosen.keys()
    assert {name: series(name, chosen[name]) for name in names} == {name: series(name, TESTED[name]) for name in names}


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_complete_for_every_python(resolved, python):
    assert resolved[python, ON_CPU[-1], "--constraint", str(LOCK)].result() == LOCK.read_text()
