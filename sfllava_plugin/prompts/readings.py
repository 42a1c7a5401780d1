"""The ways in which methods read the letter of an option from a reply, by name."""

import re
import string
from collections.abc import Callable, Sequence

from sfllava_plugin.prompts.choices import read_choice

Reading = Callable[[str, Sequence[str]], str | None]


def ig_vlm(reply: str, options: Sequence[str]) -> str | None:
    """Read a letter as IG-VLM's evaluation does; None if there is none.

    The first letter of the reply, if it is an option's; else the one in "answer is X"; else the first option, in order,
    of which there is "X:" or "X)". So "A man" is A.
    """
    letters = string.ascii_uppercase[: len(options)]
    if (first := reply.strip()[:1]) and first in letters:
        return first
    if letters and (said := re.search(f"answer is ([{letters}])", reply)):
        return said[1]
    return next((letter for letter in letters if f"{letter}:" in reply or f"{letter})" in reply), None)


#: ``free`` reads a reply as a person would.
READINGS: dict[str, Reading] = {"free": read_choice, "ig_vlm": ig_vlm}
