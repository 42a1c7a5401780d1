"""From what an lmms-eval task would send to the question that the paper's prompt frames take.

A document that has ``question`` and ``options`` says both itself. In other texts the options are the lines ``A. ...``,
``(A) ...`` or ``A) ...``, in order from A, and the question is what stands before them. It knows texts, not models.
"""

import re
from collections.abc import Mapping
from typing import Any

_OPTION = re.compile(r"\s*\(?([A-Z])[).:]\s*(\S.*?)\s*$")


def question_and_options(doc: Mapping[str, Any], context: str) -> tuple[str, tuple[str, ...]]:
    """The question, and its options without letters; () for an open-ended one.

    Args:
        doc: the task's document.
        context: the whole text that the task would send.
    """
    question, options = doc.get("question"), doc.get("options")
    if isinstance(question, str) and isinstance(options, list | tuple):
        return question, tuple(_without_letters([str(option) for option in options]))
    return option_lines(context)


def option_lines(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a text before its first option line; all of it is the question where there are not two options."""
    lines, options, first = text.splitlines(), [], None
    for number, line in enumerate(lines):
        found = _OPTION.match(line)
        if found and found[1] == chr(ord("A") + len(options)):
            first = number if first is None else first
            options.append(found[2])
    if len(options) < 2:
        return text.strip(), ()
    question = "\n".join(lines[:first]).strip()
    return re.sub(r"\n*(options|choices):$", "", question, flags=re.IGNORECASE).strip(), tuple(options)


def _without_letters(options: list[str]) -> list[str]:
    """Take ``A. ``, ``B. `` away where every option has its own."""
    found = [_OPTION.match(option) for option in options]
    if all(match and match[1] == chr(ord("A") + i) for i, match in enumerate(found)):
        return [match[2] for match in found]
    return options
