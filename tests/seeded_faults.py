"""Put faults into a copy of the package, one at a time, and see that the fast tests catch each.

    python -m tests.seeded_faults [WORD ...]

The faults are in data/seeded_faults.yaml; with words, only those are tried whose file has one of them in its name. The
exit status is 1 if the tests pass with a fault, or if its code is no longer there. Chosen faults and not every possible
one, as mutmut and cosmic-ray make them: these would run for hours, and most of what they find does no harm.
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
#: A fault may make a test wait for ever; it is caught, too.
SECONDS = 600
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "shared")


@dataclass(frozen=True)
class Fault:
    """``code``, which stands once in ``file``, becomes ``wrong``; one of ``tests`` must fail then."""

    tests: str
    file: str
    code: str
    wrong: str
    breaks: str

    @contextmanager
    def put_into(self, copy: Path) -> Iterator[None]:
        """The copy with this fault.

        Raises:
            LookupError: its code is not there, or more than once.
        """
        path = copy / "sfllava_plugin" / self.file
        right = path.read_text(encoding="utf-8")
        if (times := right.count(self.code)) != 1:
            raise LookupError(f"its code is there {times} times")
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
            # Tests that fail without a fault would catch every one.
            every = list(dict.fromkeys(fault.tests for fault in tried))
            parts = [every[number::AT_ONCE] for number in range(min(AT_ONCE, len(every)))]
            if any(status != 0 for status in pool.map(lambda tests: _run_in_one_of(copies, tests), parts)):
                print("the tests do not pass without a fault", file=sys.stderr)
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
    # A module that cannot be imported is not a test that failed.
    return {0: "lived", 1: CAUGHT}.get(status, f"tests did not run (pytest's exit status is {status})")


def _run_in_one_of(copies: SimpleQueue, tests: list[str], fault: Fault | None = None) -> int:
    """Run tests in a copy that is free; returns pytest's exit status, 1 also where they did not come to an end."""
    copy = copies.get()
    try:
        with fault.put_into(copy) if fault else nullcontext():
            return _run(copy, tests)
    finally:
        copies.put(copy)


def _run(copy: Path, tests: list[str]) -> int:
    # No compiled files: two faults of one second and one length would look alike.
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=copy, env=environment, start_new_session=True, **quiet) as process:
        try:
            return process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return 1
        finally:
            # Tests start processes, too.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
