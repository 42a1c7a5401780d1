"""What went wrong, said at the end: which videos, how many questions, and an exit status that shows it.

lmms-eval's command exits with 0 whatever happened; where questions failed, ours makes that 1.
"""

import atexit
import os
import sys

_NAMED_FAILURES = 10
_failed = False


def report(failures: list[str], total: int) -> None:
    """Name what failed, on standard error.

    Raises:
        RuntimeError: not one of ``total`` questions could be asked.
    """
    global _failed
    if not failures:
        return
    _failed = True
    different = sorted(set(failures))
    for failure in different[:_NAMED_FAILURES]:
        print(f"sfllava: {failure}", file=sys.stderr)
    if len(different) > _NAMED_FAILURES:
        print(f"sfllava: and {len(different) - _NAMED_FAILURES} others", file=sys.stderr)
    print(f"sfllava: {len(failures)} of {total} questions could not be asked", file=sys.stderr)
    if len(failures) == total:
        raise RuntimeError(f"not one of {total} questions could be asked: {failures[0]}")


def _exit() -> None:
    command = getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", None) or sys.argv[0]
    # In a program that merely uses lmms-eval the exit status is that program's.
    if _failed and ("lmms_eval" in command or "lmms-eval" in command):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


# Now, so that it runs after what others register later.
atexit.register(_exit)
