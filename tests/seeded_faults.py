"""Check that fast tests catch faults put into copies of the package.

    python -m tests.seeded_faults [WORD ...]

The faults are in data/seeded_faults.yaml; given words, only those in files with one of them in their name are tried.
The exit status is 1 if tests pass in spite of a fault, or if its code is not found. The faults are chosen by hand:
mutmut and cosmic-ray, which try every possible one, would run for hours, and most of their findings are harmless.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import yaml

ROOT = Path(__file__).parent.parent
TABLE = Path(__file__).parent / "data" / "seeded_faults.yaml"
AT_ONCE = 2
CAUGHT = "caught"
#: A fault may make a test hang, which counts as caught.
SECONDS = 600
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "shared")


@dataclass(frozen=True)
class Fault:
    """A change of ``code`` to ``wrong`` that ``tests`` must catch.

    ``code`` occurs once in ``file``.
    """

    tests: str
    file: str
    code: str
    wrong: str
    breaks: str

    @contextmanager
    def put_into(self, copy: Path) -> Iterator[None]:
        """Put this fault into the copy for the duration of the block.

        Raises:
            LookupError: the code does not occur exactly once.
        """
        path = copy / "sfllava_plugin" / self.file
        right = path.read_text(encoding="utf-8")
        if (times := right.count(self.code)) != 1:
            raise LookupError(f"its code occurs {times} times")
        path.write_text(right.replace(self.code, self.wrong), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(right, encoding="utf-8")


def faults() -> list[Fault]:
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return [Fault(tests, **fault) for tests, of_these in table.items() for fault in of_these]


def main(words: list[str]) -> int:
    tried = [fault for fault in faults() if not words or any(word in fault.file for word in words)]
    begin, bad = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="sfllava-faults-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(AT_ONCE):
            copies.put(shutil.copytree(ROOT, Path(folder, str(number)), ignore=_LEFT_OUT))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            # Tests that fail without a fault would seem to catch every fault.
            every = list(dict.fromkeys(fault.tests for fault in tried))
            parts = [every[number::AT_ONCE] for number in range(min(AT_ONCE, len(every)))]
            if any(status != 0 for status in pool.map(lambda tests: _run_in_one_of(copies, tests), parts)):
                print("the tests fail even without a fault", file=sys.stderr)
                return 1
            outcomes = pool.map(lambda fault: _outcome(copies, fault), tried)
            for fault, outcome in zip(tried, outcomes, strict=True):
                bad += outcome != CAUGHT
                print(f"{outcome:8} {fault.file}: {fault.breaks}", flush=True)
    print(f"{len(tried) - bad} of {len(tried)} faults caught in {time.monotonic() - begin:.0f} s")
    return 1 if bad else 0


def _outcome(copies: SimpleQueue, fault: Fault) -> str:
    try:
        status = _run_in_one_of(copies, [fault.tests], fault)
    except LookupError as error:
        return f"does not apply ({error})"
    # pytest exits with 2 or more if a module cannot be imported, which is no failed test.
    return {0: "survived", 1: CAUGHT}.get(status, f"tests did not run (pytest's exit status is {status})")


def _run_in_one_of(copies: SimpleQueue, tests: list[str], fault: Fault | None = None) -> int:
    """Run tests in a free copy; return pytest's exit status (1 for hangs)."""
    copy = copies.get()
    try:
        with fault.put_into(copy) if fault else nullcontext():
            return _run(copy, tests)
    finally:
        copies.put(copy)


def _run(copy: Path, tests: list[str]) -> int:
    # No .pyc files: they are told apart by second and size, which two faults may share.
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=copy, env=environment, start_new_session=True, **quiet) as process:
        try:
            return process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return 1
        finally:
            # Also kills processes that tests have started.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
