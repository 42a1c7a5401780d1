"""From what an lmms-eval task would send to the question and options that the paper's prompt frames take.

Of tasks known by name, the document says both. Of others, what stands in the text is taken: the options are its lines
``A. ...``, ``(A) ...`` or ``A) ...``, in order from A, and the question is what stands before them, without the words
that the task puts around every question. It knows documents and texts, not models.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
#: A question, and its options without letters; () for an open-ended one.
Asked = tuple[str, tuple[str, ...]]

_OPTION = re.compile(r"\s*\(?([A-Z])[).:]\s*(\S.*?)\s*$")
_HEADING = re.compile(r"\n*(options?|choices):?$", re.IGNORECASE)


def _listed(column: str) -> Callable[[Document], list[str]]:
    return lambda doc: [str(option) for option in doc[column]]


def _numbered(doc: Document) -> list[str]:
    return [str(doc[f"a{number}"]) for number in range(5)]


#: Tasks whose documents have ``question`` and options, by their whole names. Not those that show subtitles: these stand
#: in the text alone.
_MULTIPLE_CHOICE: dict[str, Callable[[Document], list[str]]] = {
    r"egoschema(_subset)?(_mcppl)?": _listed("option"),
    r"intentqa": _numbered,
    r"mvbench_\w+": _listed("candidates"),
    r"nextqa_mc_\w+": _numbered,
    r"perceptiontest_(val|test)_mc(ppl)?": _listed("options"),
    r"sfllava_shapes_\w+": _listed("options"),
    r"videomme(_long)?": _listed("options"),
}


def question_and_options(
    task: str, doc: Document, text: str, around: Sequence[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """The question, and its options without letters; () for an open-ended one.

    Args:
        task: its name.
        doc: its document.
        text: the whole text that it would send.
        around: what it puts before and after every question.
    """
    for name, options_of in _MULTIPLE_CHOICE.items():
        if re.fullmatch(name, task):
            return str(doc["question"]).strip(), tuple(_without_letters(options_of(doc)))
    return option_lines(_without(text, around))


def option_lines(text: str) -> Asked:
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
    return _HEADING.sub("", question).strip(), tuple(options)


def words_around(settings: Mapping[str, Any] | None) -> list[str]:
    """What a task's ``lmms_eval_specific_kwargs`` put around every question; some have words for each kind."""
    words = []
    for name in ("pre_prompt", "post_prompt"):
        found = (settings or {}).get(name) or ""
        words.extend(found.values() if isinstance(found, Mapping) else [found])
    return [str(word) for word in words if str(word).strip()]


def _without(text: str, around: Sequence[str]) -> str:
    for words in around:
        text = text.removesuffix(words).removeprefix(words)
    return text


def _without_letters(options: list[str]) -> list[str]:
    """Take ``A. ``, ``B. `` away where every option has its own."""
    found = [_OPTION.match(option) for option in options]
    if all(match and match[1] == chr(ord("A") + i) for i, match in enumerate(found)):
        return [match[2] for match in found]
    return [option.strip() for option in options]
