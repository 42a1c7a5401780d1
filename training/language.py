"""The curriculum of projector and decoder, from letters to pairs.

Letters come first, as text alone; then the flash, which only the fast pathway sees; then the motion of one shape; then
everything at once. Each stage needs those before it: trained on the whole world from the start, multiple choice, motion
and flash stay at chance for a long time.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from sfllava_plugin.shapes.questions import ANSWERS, ShapesQuestion, multiple_choice, questions
from sfllava_plugin.shapes.scenes import COLUMNS, ROWS
from sfllava_plugin.tokens.layout import Slow, SlowFast, TokenLayout
from training.bank import Bank
from training.dialogue import Batch, Dialogue, reworded
from training.model import FRAMES, PATHWAYS

#: Questions asked of one clip at once.
EACH = 8
MOTION = ("colour at the start", "direction", "place at the start", "place at the end", "flash")


@dataclass(frozen=True)
class Lesson:
    """One training step's data.

    Attributes:
        features: [B, T, P, WIDTH]; None for text alone.
        kinds: kinds of the questions, in order.
        name: of this sort of lesson, in the curve.
    """

    batch: Batch
    features: torch.Tensor | None
    pathways: TokenLayout
    kinds: list[str]
    name: str


class Curriculum:
    """Draws lessons from a bank."""

    def __init__(self, dialogue: Dialogue, bank: Bank, size: int, seed: int):
        self._dialogue, self._bank, self._size = dialogue, bank, size
        self._rng = random.Random(seed)
        self._every = list(range(len(bank.scenes)))
        self._pairs = [i for i in self._every if len(bank.scenes[i].shapes) == 2]
        self._single = [i for i in self._every if len(bank.scenes[i].shapes) == 1]

    def letters(self) -> Iterator[Lesson]:
        """Ask "which option is red?", without a video."""
        pools = [pool for pool in (*ANSWERS.values(), COLUMNS, ROWS) if pool]
        while True:
            rows = []
            for _ in range(self._size):
                row = []
                for pool in (self._rng.choice(pools) for _ in range(EACH)):
                    answer = self._rng.choice(pool)
                    asked = ShapesQuestion("letters", f"which option is {answer}?", answer, pool)
                    row.append(self._with_options(reworded(asked, self._rng)))
                rows.append(row)
            yield Lesson(self._dialogue.batch(rows, multiple_choice=True), None, PATHWAYS, [], "letters")

    def flash(self) -> Iterator[Lesson]:
        """Ask for the colour of the flash, one question per clip.

        Every fourth lesson is letters again.
        """
        return self._with_letters(lambda: self._lesson(self._every, ("flash",), False, FRAMES, PATHWAYS, each=1))

    def motion(self) -> Iterator[Lesson]:
        """Ask about one shape's colour and motion, and the flash.

        Every fourth lesson is letters again.
        """
        return self._with_letters(lambda: self._lesson(self._single, MOTION, False, FRAMES, PATHWAYS))

    def world(self) -> Iterator[Lesson]:
        """Ask everything, half as multiple choice, half with the shipped settings."""
        while True:
            yield from self._both_ways(self._every)

    def pairs(self) -> Iterator[Lesson]:
        """Ask everything, with half the lessons about two shapes.

        Telling two shapes apart is learned last.
        """
        while True:
            yield from self._both_ways(self._pairs)
            yield from self._both_ways(self._every)

    def evaluation(self, choice: bool, frames: int = FRAMES, chosen: TokenLayout = PATHWAYS) -> Lesson:
        return self._lesson(self._every, None, choice, frames, chosen)

    def _both_ways(self, clips: list[int]) -> Iterator[Lesson]:
        """Yield an open-ended lesson, then a multiple-choice one."""
        for choice in (False, True):
            frames, chosen = self._setting()
            yield self._lesson(clips, None, choice, frames, chosen)

    def _setting(self) -> tuple[int, TokenLayout]:
        if self._rng.random() < 0.5:
            return FRAMES, PATHWAYS
        frames, slow = self._rng.choice((8, 16, 32)), self._rng.choice((2, 4, 8))
        return frames, SlowFast(Slow(slow, PATHWAYS.slow.pool), PATHWAYS.fast)

    def _with_letters(self, lesson: Callable[[], Lesson]) -> Iterator[Lesson]:
        letters = self.letters()
        while True:
            for _ in range(3):
                yield lesson()
            yield next(letters)

    def _lesson(
        self, clips: list[int], kinds: tuple | None, choice: bool, frames: int, chosen, each: int = EACH
    ) -> Lesson:
        indices = self._rng.sample(clips, self._size)
        rows = [self._questions(index, kinds, choice, each) for index in indices]
        return Lesson(
            batch=self._dialogue.batch(rows, multiple_choice=choice),
            features=self._bank.pick(indices, frames, self._rng),
            pathways=chosen,
            kinds=[question.kind for row in rows for question in row],
            name="choice" if choice else "open",
        )

    def _questions(self, index: int, kinds: tuple | None, choice: bool, each: int) -> list[ShapesQuestion]:
        """Draw `each` questions, evenly over the kinds."""
        by_kind: dict[str, list[ShapesQuestion]] = {}
        for question in questions(self._bank.scenes[index], self._rng):
            if (kinds is None or question.kind in kinds) and (question.pool or not choice):
                by_kind.setdefault(question.kind, []).append(question)
        order: list[ShapesQuestion] = []
        while len(order) < each:
            order += [self._rng.choice(by_kind[kind]) for kind in self._rng.sample(list(by_kind), len(by_kind))]
        asked = [reworded(question, self._rng) for question in order[:each]]
        return [self._with_options(question) for question in asked] if choice else asked

    def _with_options(self, question: ShapesQuestion) -> ShapesQuestion:
        return multiple_choice(question, self._rng, self._rng.choice((2, 3, 4, 4, 5)))
