"""Read the letter of an option from a reply to a multiple-choice question.

The paper's prompt ends in ``Best option:(``, so a typical reply is ``B) text``, and its first letter is the answer.
Other replies are read as a person would read them: first a letter called the answer, then a letter mentioned, then the
words of an option. Negated letters and options do not count, nor does a list of all options or an open choice
("A or B"). If two letters remain, there is no answer.

This module handles text only: no prompts, no tasks.
"""

import re
import string
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

#: One mark for each option. It replaces the option's words, which the rules about letters must not look into.
_MARKS = "".join(chr(0xE000 + number) for number in range(26))

#: Named parts of the rules below. <OFFERED> stands for the letters of the options, upper and lower case.
_NAMES = {
    # A letter or a digit: "_" is markup.
    "WORD": r"[^\W_]",
    "MARK": rf"[{_MARKS}]",
    "AROUND": rf"(?:[^\w.!?{_MARKS}]|_)",
    "ANY": r"(?P<letter>(?-i:[<OFFERED>]))",
    # No article ("the answer is a man"), no pronoun ("the best option I see"), no "I'd".
    "LETTER": r"(?!a (?!(?:because|since|as|is|was|would|seems|but|not)\b)<WORD>|i <WORD>)<ANY>(?!'?<WORD>)",
    "CAPITAL": r"(?=(?-i:[A-Z]))<LETTER>",
    # "B. It sleeps", not "e.g." or "D.C.".
    "DOT": r"\.(?! ?<WORD>\.|(?!A [a-z])<WORD>(?!<WORD>))",
    # "It is B. Because ...", not "It is C. elegans".
    "END": (
        r"(?=[)*_\"']{0,4}(?:\Z|\n|[,;:!?]|\.(?! ?(?-i:[a-z]))"
        r"| (?:because|since|as|but|rather|instead|answer|option|choice|one)\b))"
    ),
    "NOT": (
        r"(?:\b(?:not|no(?! doubt)|non|none|neither|nor|never|cannot|without|except|unlike|excluding|anything but"
        r"|rules? out|rather than|instead of|other than|wrong|incorrect|nicht|keine?[mnrs]?|pas)\b|n't\b|不|没)"
    ),
    "IS": r" (?:is|are|was|were|do|does|did|can|could|ca|would|wo|be|seems|looks|also|clearly|definitely)",
    "ANSWER": (
        r"(?:\b(?:answer|ans|boxed|antwort|réponse|respuesta|ответ"
        r"|(?:best|correct|right|final|my) (?:option|choice|one|letter))\b|答案|选|正解|정답)"
    ),
    "SAY": (
        r"\b(?:choose|chose|pick|select|go with|say|think|guess|is|be|it's|so|but|thus|hence|therefore"
        r"|definitely|probably|maybe|perhaps)\b"
    ),
    "FILLERS": (
        r"(?:[:,]? (?:is|was|be|it|it's|would|should|must|to|the|this|that|question|option|choice|letter|probably"
        r"|clearly|definitely|ist|est|es)\b){0,6}"
    ),
}

#: Passages removed before the stages.
_IGNORED = (
    # "B is not right", "the bus can be ruled out"
    r"(?:\((?-i:[<OFFERED>])\)|\b(?-i:[<OFFERED>])(?= )|<MARK>)(?:<IS>){1,4}"
    r"(?:n't\b| (?:not|never|wrong|incorrect|false|impossible|unlikely|excluded|eliminated|ruled out)\b)",
    # "not a bus", to the end of the clause
    r"<NOT>[^.,;:!?\n]*?(?=\b(?:but|so|because|since|therefore|while|whereas)\b|[.,;:!?\n]|\Z)",
    # "A or B"
    r"\b(?-i:[<OFFERED>])\b\)?(?: ?(?:,? ?\b(?:and|or|nor|vs|und|oder|et|ou)\b|[,/&]) ?\(?<LETTER>\)?)+",
)

#: Ways to give a letter, strongest first: the first stage that finds one decides.
_STAGES = (
    # The reply continues the prompt's "(".
    (r"\A[^\w(]*<ANY> ?\)",),
    # It calls the letter the answer. A reply ending in "is a" was cut short.
    (r"<ANSWER><FILLERS>(?:是|は)?<AROUND>{0,8}(?!(?<=[a-z] )(?-i:a)\Z)<LETTER>",),
    # It starts with the letter.
    (r"\A<AROUND>*(?!i,)<ANY>(?:[)\]}:;,!?*=|\"`]|_(?!<WORD>)|'(?!<WORD>)|<DOT>|\Z|\n| ?<MARK>| [-\u2013\u2014] )",),
    # It says the letter.
    (
        r"<SAY><FILLERS><AROUND>{0,6}<CAPITAL><END>",
        r"<CAPITAL>[)*_\"']{0,4} (?:is|seems|looks)(?: (?:the|clearly|my)){0,2} (?:correct|right|best|answer)<END>",
        r"\A<AROUND>*<CAPITAL> (?:because|since)\b",
    ),
    # It mentions the letter.
    (
        r"\b(?:options?|choice)\b<AROUND>{0,8}<LETTER>",
        r"(?<!<WORD>)[(\[]<ANY>[)\]]",
        r"(?:^|[.:;!?] )<ANY>(?:\)|:|<DOT>|$)",
    ),
    # It has the words of an option.
    (r"(?P<letter><MARK>)",),
)

#: Replacements: straight quotation marks, ASCII for full-width forms, and a space for a mark in the text itself.
_CHARACTERS = (
    {0xFF01 + number: 0x21 + number for number in range(94)}
    | dict.fromkeys(map(ord, _MARKS), " ")
    | {0x201C: '"', 0x201D: '"', 0x2018: "'", 0x2019: "'"}
)
_LETTER_OF = str.maketrans(_MARKS, string.ascii_uppercase)


def read_choice(reply: str, options: Sequence[str]) -> str | None:
    """Read the letter from a reply to a multiple-choice question; None if there is none.

    Args:
        reply: the model's reply.
        options: the options' texts without letters. The first is A; the 27th and later have no letter.
    """
    letters = string.ascii_uppercase[: len(options)]
    if not letters:
        return None
    rules = _rules(letters)
    text = _with_marks(_plain(reply), letters, options)
    # Most replies of small models end here; the rest takes ten times as long.
    if not rules.anything.search(text):
        return None
    for pattern in rules.ignored:
        text = pattern.sub(" ", text)
    for patterns in rules.stages:
        found = {found["letter"] for pattern in patterns for found in pattern.finditer(text)}
        if found := {letter.translate(_LETTER_OF).upper() for letter in found}:
            return found.pop() if len(found) == 1 else None
    return None


class _Rules(NamedTuple):
    """The compiled rules for the offered letters.

    Attributes:
        anything: any sign of an answer.
        ignored: `_IGNORED`.
        stages: `_STAGES`.
    """

    anything: re.Pattern[str]
    ignored: list[re.Pattern[str]]
    stages: list[list[re.Pattern[str]]]


@cache
def _rules(letters: str) -> _Rules:
    def compiled(rule: str) -> re.Pattern[str]:
        return re.compile(written_out(rule), re.IGNORECASE | re.MULTILINE)

    def written_out(rule: str) -> str:
        return re.sub("<([A-Z]+)>", lambda name: written_out(names[name[1]]), rule)

    names = _NAMES | {"OFFERED": letters + letters.lower()}

    every = r"[\W_]{0,4}".join(rf"\(?\b{letter}\b[).:]? ?{mark}" for letter, mark in zip(letters, _MARKS, strict=False))
    return _Rules(
        compiled(r"(?<![a-z0-9])<LETTER>|<MARK>"),
        [compiled(rule) for rule in (every, *_IGNORED)],
        [[compiled(rule) for rule in stage] for stage in _STAGES],
    )


def _plain(text: str) -> str:
    """Normalise characters and white space: single spaces within lines, no empty lines."""
    lines = text.translate(_CHARACTERS).splitlines()
    return "\n".join(" ".join(line.split()) for line in lines if line.strip())


def _with_marks(text: str, letters: str, options: Sequence[str]) -> str:
    """Replace the options' words by their marks, longest first: "dark red" is not "red"."""
    lower = text.lower().replace("\n", " ")
    forms = _forms(letters, options)
    for form in sorted(forms, key=len, reverse=True):
        # Compiling a pattern costs more than all the rest, and most options do not occur.
        if form in lower:
            text = _words(form).sub(forms[form], text)
    return text


def _forms(letters: str, options: Sequence[str]) -> dict[str, str]:
    """Map each spelling of an option to the marks of all options spelled that way."""
    forms: dict[str, str] = {}
    for mark, option in zip(_MARKS, options, strict=False):
        whole = " ".join(_plain(option).lower().split())
        bare = re.sub(r"^(?:an?|the) ", "", whole.rstrip(" .,;:!?"))
        for form in {whole, bare}:
            # An option whose text is an offered letter cannot be told from the letter.
            if form and not (len(form) == 1 and form.upper() in letters):
                forms[form] = forms.get(form, "") + mark
    return forms


def _words(form: str) -> re.Pattern[str]:
    """Compile a pattern for an option's whole words: no "red" in "tired", no 2 in 2.5, 1/2 or -2."""
    words = r"\s".join(re.escape(word) for word in form.split())
    if not any(char.isalnum() for char in form):
        return re.compile(rf"\A{words}\Z")
    before = rf"(?<!{_next_to(form[0])})(?:\b(?:an?|the)\s)?(?<!\d[.,:/-])(?!(?<=-)\d)"
    after = rf"(?!{_next_to(form[-1])})(?![.,:/-]\d)"
    idioms = r"(?! (?:idea|clue|doubt|way|one)\b)" if form == "no" else ""
    return re.compile(before + words + after + idioms, re.IGNORECASE)


def _next_to(char: str) -> str:
    """Return a pattern for the characters that would continue a word beginning or ending in ``char``."""
    # Scripts without capitals, like Chinese, put no spaces between words.
    return r"[^\W_]" if char.isdigit() or char.upper() != char.lower() else r"(?!)"
