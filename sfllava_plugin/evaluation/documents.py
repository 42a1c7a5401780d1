"""Find question and options in lmms-eval's documents and texts.

The paper's prompt wrapper takes them separately. Documents of the tasks listed here by name have both in columns.
Texts of other tasks are parsed: options are the lines ``A. ...``, ``(A) ...``, ``A) ...`` or ``A: ...``, in order from
A, and the question is everything before them, without the words that the task adds to every question.
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


#: Full names of tasks whose documents have ``question`` and options. Not tasks with subtitles, which only the text has.
_MULTIPLE_CHOICE: dict[str, Callable[[Document], list[str]]] = {
    r"egoschema(_subset)?(_mcppl)?": _listed("option"),
    r"intentqa(_val)?": _numbered,
    r"mvbench_\w+": _listed("candidates"),
    r"nextqa_mc_\w+": _numbered,
    r"perceptiontest_(val|test)_mc(ppl)?": _listed("options"),
    r"sfllava_shapes_\w+": _listed("options"),
    r"videomme(_long)?": _listed("options"),
}


def question_and_options(task: str, doc: Document, text: str, around: Sequence[str] = ()) -> Asked:
    """Find the question and its options, without their letters.

    Open-ended questions have no options: ().

    Args:
        task: name of the task.
        doc: one of its documents.
        text: the whole text that the task would send.
        around: the words that it adds before and after every question.
    """
    for name, options_of in _MULTIPLE_CHOICE.items():
        if re.fullmatch(name, task):
            return str(doc["question"]).strip(), tuple(_without_letters(options_of(doc)))
    return option_lines(_without(text, around))


def option_lines(text: str) -> Asked:
    """Split a text at the first option line.

    With fewer than two such lines, all of it is the question.
    """
    lines = text.splitlines()
    options: list[str] = []
    first: int | None = None
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
    """List the words that ``lmms_eval_specific_kwargs`` add to questions.

    Some tasks have different words for each kind of question.
    """
    words: list[Any] = []
    for name in ("pre_prompt", "post_prompt"):
        found = (settings or {}).get(name) or ""
        words.extend(found.values() if isinstance(found, Mapping) else [found])
    return [str(word) for word in words if str(word).strip()]


def _without(text: str, around: Sequence[str]) -> str:
    for words in around:
        text = text.removesuffix(words).removeprefix(words)
    return text


def _without_letters(options: list[str]) -> list[str]:
    """Strip the letters if every option has its own."""
    found = [_OPTION.match(option) for option in options]
    if all(match and match[1] == chr(ord("A") + i) for i, match in enumerate(found)):
        return [match[2] for match in found if match]
    return [option.strip() for option in options]
