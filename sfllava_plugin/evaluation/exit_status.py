"""What went wrong, said at the end: which videos, how many questions, and an exit status that shows it.

lmms-eval's command exits with 0 whatever happened. With our model it is 1 where questions failed, 2 where the model
cannot be loaded, 3 where the engine died.
"""

import atexit
import os
import sys
from typing import NoReturn

_NAMED_FAILURES = 10
_status = 0


def report(failures: list[str], total: int) -> None:
    """Name what failed, on standard error.

    Raises:
        RuntimeError: not one of ``total`` questions could be asked.
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
    print(f"sfllava: {len(failures)} of {total} questions could not be asked", file=sys.stderr)
    if len(failures) == total:
        raise RuntimeError(f"not one of {total} questions could be asked: {failures[0]}")


def stop(error: Exception, status: int) -> NoReturn:
    """End lmms-eval's command with one line, in place of its own traceback.

    Raises:
        Exception: ``error``, in a program that merely uses lmms-eval.
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
    # In a program that merely uses lmms-eval the exit status is that program's.
    if _status and _is_lmms_evals_command():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status)


# Now, so that it runs after what others register later.
atexit.register(_exit)
