"""Read the letter of an option from a reply to a multiple-choice question.

The paper's frame ends in ``Best option:(``, so a reply begins ``B) text``, and the letter it begins with is its answer.
Other replies are read as a person reads them: a letter called the answer, a letter mentioned, the words of an option.
What a reply denies does not count, nor does a list of all options or a choice left open ("A or B"). Where two letters
remain, there is no answer.

This module knows text. It does not know prompts or tasks.
"""

import re
import string
from collections.abc import Sequence
from functools import cache

#: Each stands for one option whose words were found, so that no rule about letters looks into them.
_MARKS = "".join(chr(0xE000 + number) for number in range(26))

#: Names in the rules below. <OFFERED> are the letters of the options, large and small.
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

#: What does not count.
_IGNORED = (
    # "B is not right", "the bus can be ruled out"
    r"(?:\((?-i:[<OFFERED>])\)|\b(?-i:[<OFFERED>])(?= )|<MARK>)(?:<IS>){1,4}"
    r"(?:n't\b| (?:not|never|wrong|incorrect|false|impossible|unlikely|excluded|eliminated|ruled out)\b)",
    # "not a bus", to the end of the clause
    r"<NOT>[^.,;:!?\n]*?(?=\b(?:but|so|because|since|therefore|while|whereas)\b|[.,;:!?\n]|\Z)",
    # "A or B"
    r"\b(?-i:[<OFFERED>])\b\)?(?: ?(?:,? ?\b(?:and|or|nor|vs|und|oder|et|ou)\b|[,/&]) ?\(?<LETTER>\)?)+",
)

#: How a reply says its letter, strongest first: the first stage that finds a letter decides.
_STAGES = (
    # It goes on after the frame's "(".
    (r"\A[^\w(]*<ANY> ?\)",),
    # It calls the letter the answer. What ends in "is a" was cut short.
    (r"<ANSWER><FILLERS>(?:是|は)?<AROUND>{0,8}(?!(?<=[a-z] )(?-i:a)\Z)<LETTER>",),
    # It begins with the letter.
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

#: Straight quotation marks, ASCII for its full-width forms, and blanks for the characters that are marks.
_CHARACTERS = (
    {0xFF01 + number: 0x21 + number for number in range(94)}
    | dict.fromkeys(map(ord, _MARKS), " ")
    | {0x201C: '"', 0x201D: '"', 0x2018: "'", 0x2019: "'"}
)
_LETTER_OF = str.maketrans(_MARKS, string.ascii_uppercase)


def read_choice(reply: str, options: Sequence[str]) -> str | None:
    """The letter that a reply to a multiple-choice question names, or None.

    Args:
        reply: what the model wrote.
        options: their texts without letters; the first is A. Those after Z have none.
    """
    letters = string.ascii_uppercase[: len(options)]
    if not letters:
        return None
    anything, ignored, stages = _rules(letters)
    text = _with_marks(_plain(reply), letters, options)
    # Most of what small models write; the rest takes ten times as long.
    if not anything.search(text):
        return None
    for pattern in ignored:
        text = pattern.sub(" ", text)
    for patterns in stages:
        found = {found["letter"] for pattern in patterns for found in pattern.finditer(text)}
        if found := {letter.translate(_LETTER_OF).upper() for letter in found}:
            return found.pop() if len(found) == 1 else None
    return None


@cache
def _rules(letters: str) -> tuple[re.Pattern, list[re.Pattern], list[list[re.Pattern]]]:
    """Anything to read at all, what to ignore, and the stages, for the letters that are offered."""

    def compiled(rule: str) -> re.Pattern:
        return re.compile(written_out(rule), re.IGNORECASE | re.MULTILINE)

    def written_out(rule: str) -> str:
        return re.sub("<([A-Z]+)>", lambda name: written_out(names[name[1]]), rule)

    names = _NAMES | {"OFFERED": letters + letters.lower()}

    every = r"[\W_]{0,4}".join(rf"\(?\b{letter}\b[).:]? ?{mark}" for letter, mark in zip(letters, _MARKS, strict=False))
    return (
        compiled(r"(?<![a-z0-9])<LETTER>|<MARK>"),
        [compiled(rule) for rule in (every, *_IGNORED)],
        [[compiled(rule) for rule in stage] for stage in _STAGES],
    )


def _plain(text: str) -> str:
    """Text with one form of each character, and no blanks but single spaces and ends of lines."""
    lines = text.translate(_CHARACTERS).splitlines()
    return "\n".join(" ".join(line.split()) for line in lines if line.strip())


def _with_marks(text: str, letters: str, options: Sequence[str]) -> str:
    """Put the marks of the options in place of their words, longer ones first: "dark red" is not "red"."""
    lower = text.lower().replace("\n", " ")
    forms = _forms(letters, options)
    for form in sorted(forms, key=len, reverse=True):
        # Compiling a pattern costs more than all the rest, and few options are there.
        if form in lower:
            text = _words(form).sub(forms[form], text)
    return text


def _forms(letters: str, options: Sequence[str]) -> dict[str, str]:
    """How a reply may write the options, each with the marks of those that are written so."""
    forms: dict[str, str] = {}
    for mark, option in zip(_MARKS, options, strict=False):
        whole = " ".join(_plain(option).lower().split())
        bare = re.sub(r"^(?:an?|the) ", "", whole.rstrip(" .,;:!?"))
        for form in {whole, bare}:
            # A letter that is offered is a letter.
            if form and not (len(form) == 1 and form.upper() in letters):
                forms[form] = forms.get(form, "") + mark
    return forms


def _words(form: str) -> re.Pattern:
    """An option's words as words of their own: no "red" in "tired", no 2 in 2.5, 1/2 or -2."""
    words = r"\s".join(re.escape(word) for word in form.split())
    if not any(char.isalnum() for char in form):
        return re.compile(rf"\A{words}\Z")
    before = rf"(?<!{_next_to(form[0])})(?:\b(?:an?|the)\s)?(?<!\d[.,:/-])(?!(?<=-)\d)"
    after = rf"(?!{_next_to(form[-1])})(?![.,:/-]\d)"
    idioms = r"(?! (?:idea|clue|doubt|way|one)\b)" if form == "no" else ""
    return re.compile(before + words + after + idioms, re.IGNORECASE)


def _next_to(char: str) -> str:
    """What makes a longer word of one that begins or ends in ``char``."""
    # Scripts without capitals, like Chinese, write no blanks between words.
    return r"[^\W_]" if char.isdigit() or char.upper() != char.lower() else r"(?!)"
