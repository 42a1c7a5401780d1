"""Tokenise many questions on one video as branches of a common prefix.

A branch sees the prefix and itself, at the positions it would have alone. Eight questions then cost little more than
one, yet are learned exactly as they will be asked: one at a time, in the package's prompt wrappers.
"""

import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

import torch

from sfllava_plugin import prompts
from sfllava_plugin.shapes.questions import ShapesQuestion
from training import tokenizer

IGNORE = -100


@dataclass(frozen=True)
class Branch:
    """Token ids of a question after the prefix, and its answer."""

    question: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Branches of B clips, all padded to one length.

    Attributes:
        before, after: ids of the common prefix, before and after the video.
        ids, labels: int64 [B, branches * length]. Labels are `IGNORE` outside the answers.
    """

    before: torch.Tensor
    after: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor
    branches: int


class Dialogue:
    """The prompt wrappers and the tokenizer."""

    def __init__(self):
        self._tokenizer = tokenizer.build()
        self.size = self._tokenizer.get_vocab_size()
        self._template = prompts.chat_template(
            "vicuna", special_tokens=[tokenizer.IMAGE, tokenizer.BOS, tokenizer.EOS], bos_token=tokenizer.BOS
        )
        self._image = self._tokenizer.token_to_id(tokenizer.IMAGE)
        self._end = self._tokenizer.token_to_id(tokenizer.EOS)
        self._beginnings = {choice: self._beginning(choice) for choice in (False, True)}

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids)

    def beginning(self, multiple_choice: bool) -> tuple[list[int], list[int]]:
        """Ids before and after the video, up to the question."""
        ids = self._beginnings[multiple_choice]
        cut = ids.index(self._image)
        return ids[:cut], ids[cut + 1 :]

    def branch(self, question: ShapesQuestion) -> Branch:
        reply = f"{question.letter}) {question.answer}" if question.options else question.answer
        return self._branch(question.text, question.options, reply)

    def batch(self, questions: list[list[ShapesQuestion]], *, multiple_choice: bool) -> Batch:
        """Make a batch with as many questions for each clip."""
        before, after = self.beginning(multiple_choice)
        rows = [[self.branch(question) for question in row] for row in questions]
        length = max(len(branch.question) + len(branch.answer) for row in rows for branch in row)
        ids = torch.zeros(len(rows), len(rows[0]), length, dtype=torch.long)
        labels = torch.full_like(ids, IGNORE)
        for i, row in enumerate(rows):
            for j, branch in enumerate(row):
                whole = torch.tensor([*branch.question, *branch.answer])
                ids[i, j, : len(whole)] = whole
                # Each token is predicted from the position before it.
                start = len(branch.question) - 1
                labels[i, j, start : start + len(branch.answer)] = whole[len(branch.question) :]
        return Batch(torch.tensor(before), torch.tensor(after), ids.flatten(1), labels.flatten(1), len(rows[0]))

    def _beginning(self, multiple_choice: bool) -> list[int]:
        """Ids that two prompts share before their questions differ."""
        options = ("red", "blue") if multiple_choice else ()
        one, other = (self.encode(self._prompt(question, options)) for question in ("what", "which"))
        same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
        return [first for first, _ in same]

    @lru_cache(maxsize=200_000)  # noqa: B019
    def _branch(self, text: str, options: tuple[str, ...], reply: str) -> Branch:
        ids = self.encode(self._prompt(text, options))
        start = len(self._beginnings[bool(options)])
        return Branch(tuple(ids[start:]), (*self.encode(reply), self._end))

    def _prompt(self, text: str, options: tuple[str, ...]) -> str:
        return prompts.render(self._template, text, options, bos_token=tokenizer.BOS)


def reworded(question: ShapesQuestion, rng: random.Random) -> ShapesQuestion:
    """Vary capitals, spelling and question mark, as users do."""
    text = question.text
    if rng.random() < 0.3:
        text = text.replace("colour", "color")
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.1:
        text = text.rstrip("?.")
    return ShapesQuestion(question.kind, text, question.answer, question.pool, question.options)
