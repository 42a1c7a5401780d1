"""Alter the decoding worker; find or kill workers.

An altered worker starts as the real one does, in the same environment, and differs in one thing.
"""

import subprocess
from contextlib import contextmanager

import psutil
import pytest

_MODULE = "sfllava_plugin.video.isolation.worker"


def worker_with(setup: str) -> str:
    """Return the source of a worker that first runs ``setup``."""
    return f"{setup}\nimport runpy; runpy.run_module('{_MODULE}', run_name='__main__')\n"


def worker_that_runs(expression: str) -> str:
    """Return the source of a worker that evaluates ``expression`` for every video.

    It does so before it opens the video; ``path`` is defined.
    """
    setup = "import ctypes, os, socket, time, sfllava_plugin.video.decode as decode\n"
    return worker_with(f"{setup}decode._check_file = lambda path, *given: {expression}\n")


@contextmanager
def replacing_workers(source: str):
    """Start this source wherever this process would start the real worker."""
    start = subprocess.Popen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", lambda call, **how: start([call[0], "-P", "-c", source, *call[4:]], **how))
        yield


def worker_processes(parent: int | None = None) -> list[psutil.Process]:
    """Return the workers of a process, by default of this one."""
    children = psutil.Process(parent).children()
    return [child for child in children if any(_MODULE in word for word in child.cmdline())]


def kill_workers() -> None:
    """Kill this process's workers, so that the next test starts new ones."""
    for process in worker_processes():
        process.kill()
        process.wait()
