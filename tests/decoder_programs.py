"""Processes that decode as the real one does, but for one thing: they start as it starts, in the same environment."""

import subprocess
from contextlib import contextmanager

import psutil
import pytest

#: Runs the real program.
_RUN = "import runpy; runpy.run_module('sfllava_plugin.video.isolation.worker', run_name='__main__')\n"


def program(before: str) -> str:
    """The program, after ``before`` has changed something in it."""
    return f"{before}\n{_RUN}"


def looking_at(what: str) -> str:
    """The program, in which ``what`` is evaluated with ``path`` when a video is first looked at."""
    before = "import ctypes, os, socket, time, sfllava_plugin.video.decode as decode\n"
    return program(f"{before}decode._check_file = lambda path, *given: {what}\n")


@contextmanager
def decoders(source: str):
    """Start these programs instead of the real one, in processes started from here."""
    start = subprocess.Popen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", lambda call, **how: start([call[0], "-P", "-c", source, *call[4:]], **how))
        yield


def processes(of=None) -> list[psutil.Process]:
    """The decoding processes of a process, of this one by default."""
    children = psutil.Process(of).children()
    return [
        child for child in children if any("sfllava_plugin.video.isolation.worker" in word for word in child.cmdline())
    ]


def end_all() -> None:
    """Leave no process to the next test."""
    for process in processes():
        process.kill()
        process.wait()
