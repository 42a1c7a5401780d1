"""Report failed questions, and set the exit status of lmms-eval's command.

The command itself exits with 0 whatever happens. With our model it exits with 1 if questions failed, 2 if the model
cannot be loaded, 3 if the engine died.
"""

import atexit
import os
import sys
from typing import NoReturn

_NAMED_FAILURES = 10
_status = 0


def report(failures: list[str], total: int) -> None:
    """Print failures on standard error.

    Raises:
        RuntimeError: all of the ``total`` questions failed.
    """
    global _status
    if not failures:
        return
    _status = 1
    different = sorted(set(failures))
    for failure in different[:_NAMED_FAILURES]:
        print(f"sfllava: {failure}", file=sys.stderr)
    if len(different) > _NAMED_FAILURES:
        print(f"sfllava: and {len(different) - _NAMED_FAILURES} others", file=sys.stderr)
    print(f"sfllava: {len(failures)} of {total} questions could not be answered", file=sys.stderr)
    if len(failures) == total:
        raise RuntimeError(f"none of {total} questions could be answered: {failures[0]}")


def stop(error: Exception, status: int) -> NoReturn:
    """End lmms-eval's command with one line in place of a traceback.

    Raises:
        Exception: ``error``, in a program that calls lmms-eval.
    """
    global _status
    if not _is_lmms_evals_command():
        raise error
    _status = status
    print(f"sfllava: {' '.join(str(error).split())}", file=sys.stderr)
    raise SystemExit(status) from error


def _is_lmms_evals_command() -> bool:
    command = getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", None) or sys.argv[0]
    return "lmms_eval" in command or "lmms-eval" in command


def _exit() -> None:
    # A program that calls lmms-eval has its own exit status.
    if _status and _is_lmms_evals_command():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status)


# Registered on import, so that it runs after everything registered later.
atexit.register(_exit)
