"""A patch for lmms-eval 0.7.3, whose evaluator turns `loglikelihood`'s pairs into strings.

Every task that asks for log-likelihoods fails on them.
"""

from importlib import import_module
from typing import Any


def keep_likelihood_pairs() -> None:
    """Patch lmms-eval's evaluator, once, and only if it has the bug."""
    evaluator: Any = import_module("lmms_eval.evaluator")
    unwrap = evaluator.unwrap_generation_output
    if unwrap((0.5, True))[0] == (0.5, True):
        return

    def unwrap_generation_output(output: Any) -> tuple[Any, Any]:
        return (tuple(output), None) if _is_pair(output) else unwrap(output)

    evaluator.unwrap_generation_output = unwrap_generation_output


def _is_pair(output: Any) -> bool:
    # The response cache returns lists.
    return (
        isinstance(output, tuple | list)
        and len(output) == 2
        and isinstance(output[0], int | float)
        and isinstance(output[1], bool)
    )
