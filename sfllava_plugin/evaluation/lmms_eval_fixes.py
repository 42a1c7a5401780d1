"""lmms-eval 0.7.3 turns the pairs that `loglikelihood` returns into strings, and every task that asks for them fails.

This lets the pairs through, where that is still so.
"""

from typing import Any


def let_pairs_through() -> None:
    """Mend lmms-eval's evaluator; once, and only if it has the fault."""
    from lmms_eval import evaluator

    unwrap = evaluator.unwrap_generation_output
    if unwrap((0.5, True))[0] == (0.5, True):
        return

    def unwrap_generation_output(output: Any) -> tuple[Any, Any]:
        return (tuple(output), None) if _is_pair(output) else unwrap(output)

    evaluator.unwrap_generation_output = unwrap_generation_output


def _is_pair(output: Any) -> bool:
    # From the response cache it comes as a list.
    return (
        isinstance(output, tuple | list)
        and len(output) == 2
        and isinstance(output[0], int | float)
        and isinstance(output[1], bool)
    )
