"""Questions about a scene, with short answers such as sf-llava-tiny gives.

Each kind of question has two wordings, and the clip's seed chooses one. The words used here and in the prompt wrappers
are the tiny model's whole vocabulary.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .scenes import COLOURS, COLUMNS, ROWS, SHAPES, Scene, Shape, cell

COUNTS = ("one", "two", "three", "four")
DIRECTIONS = ("left", "right", "up", "down", "nowhere")
CHANGES = ("colour", "position", "number", "nothing")
MOST_OPTIONS = 5

#: Possible answers to each kind of question, from which wrong options are drawn; none for a description.
ANSWERS: dict[str, tuple[str, ...]] = {
    "colour": COLOURS,
    "shape": SHAPES,
    "direction": DIRECTIONS,
    "count": COUNTS,
    "place at the start": (),  # columns or rows, depending on the question
    "place at the end": (),
    "colour at the start": COLOURS,
    "colour at the end": COLOURS,
    "change": CHANGES,
    "mover": (*SHAPES, "none"),
    "order": SHAPES,
    "flash": (*COLOURS, "none"),
    "description": (),
}
KINDS = tuple(ANSWERS)
#: Never asked as multiple choice: sf-llava-tiny names the mover, but picks its letter at random.
WITHOUT_OPTIONS = ("description", "mover")
#: Kinds that only the fast pathway can answer.
FAST_ONLY = ("flash",)


@dataclass(frozen=True)
class ShapesQuestion:
    """A question about a scene.

    Attributes:
        kind: one of `KINDS`.
        pool: all possible answers; () for a description.
        options: () for an open-ended question.
    """

    kind: str
    text: str
    answer: str
    pool: tuple[str, ...]
    options: tuple[str, ...] = ()

    @property
    def letter(self) -> str | None:
        """Letter of the correct option; None without options."""
        return "ABCDE"[self.options.index(self.answer)] if self.options else None


def questions(scene: Scene, rng: random.Random) -> list[ShapesQuestion]:
    """List every open-ended question about ``scene``, each in one wording."""
    return [
        ShapesQuestion(kind, rng.choice(wordings), answer, pool if pool is not None else ANSWERS[kind])
        for kind, wordings, answer, pool in _ask(scene)
    ]


def multiple_choice(question: ShapesQuestion, rng: random.Random, count: int = 4) -> ShapesQuestion:
    """Make a question multiple choice, with up to ``count`` shuffled options."""
    wrong = [answer for answer in question.pool if answer != question.answer]
    options = [question.answer, *rng.sample(wrong, min(count - 1, len(wrong)))]
    rng.shuffle(options)
    return replace(question, options=tuple(options))


def _ask(scene: Scene) -> Iterator[tuple[str, tuple[str, ...], str, tuple[str, ...] | None]]:
    """Yield kind, wordings, answer, and possible answers unless implied."""
    for shape in scene.shapes:
        yield from _about(shape, scene)
    numbers = [sum(shape.appears_at <= time for shape in scene.shapes) for time in (0, 1)]
    for when, number in zip(("start", "end"), numbers, strict=True):
        wordings = (f"how many shapes are there at the {when}?", f"how many shapes do you see at the {when}?")
        yield "count", wordings, COUNTS[number - 1], None
    if (change := _change(scene)) is not None:
        yield "change", ("what changes in the video?", "what changes?"), change, None
    if len(scene.shapes) == 2 and not scene.arrives:
        mover = next((shape.kind for shape in scene.shapes if shape.moves), "none")
        yield "mover", ("which shape moves?", "what is the shape that moves?"), mover, None
    if scene.arrives:
        first, last = (shape.kind for shape in scene.shapes)
        yield "order", ("which shape comes first?", "what is the first shape?"), first, None
        yield "order", ("which shape comes last?", "what is the last shape?"), last, None
    flash = scene.flash.colour if scene.flash else "none"
    yield "flash", ("what colour is the flash?", "which colour does the flash have?"), flash, None
    yield "description", ("describe the video.", "what happens in the video?"), describe(scene), None


def _about(shape: Shape, scene: Scene) -> Iterator[tuple[str, tuple[str, ...], str, tuple[str, ...] | None]]:
    name = shape.kind
    if shape.later_colour is None:
        yield "colour", (f"what colour is the {name}?", f"which colour does the {name} have?"), shape.colour, None
        yield "shape", (f"what shape is {shape.colour}?", f"what is the {shape.colour} shape?"), name, None
    if not scene.arrives:
        direction = shape.direction
        yield "direction", (f"which way does the {name} move?", f"where does the {name} go?"), direction, None
        for when, (x, y) in (("start", shape.start), ("end", shape.end)):
            kind = f"place at the {when}"
            columns = (f"in which column is the {name} at the {when}?", f"which column is the {name} in at the {when}?")
            rows = (f"in which row is the {name} at the {when}?", f"which row is the {name} in at the {when}?")
            yield kind, columns, COLUMNS[cell(x)], COLUMNS
            yield kind, rows, ROWS[cell(y)], ROWS
    if len(scene.shapes) == 1:
        for when, colour in (("start", shape.colour), ("end", shape.colour_at(1))):
            wordings = (
                f"what colour is the {name} at the {when}?",
                f"which colour does the {name} have at the {when}?",
            )
            yield f"colour at the {when}", wordings, colour, None


def _change(scene: Scene) -> str | None:
    """The one thing that changes; None if several do."""
    changes = [
        name
        for name, happens in (
            ("colour", any(shape.later_colour for shape in scene.shapes)),
            ("position", any(shape.moves for shape in scene.shapes)),
            ("number", scene.arrives),
        )
        if happens
    ]
    return (changes or ["nothing"])[0] if len(changes) < 2 else None


def describe(scene: Scene) -> str:
    """Describe the shapes, but not the flash, in one sentence."""
    first, *rest = scene.shapes
    second = rest[0] if rest else None
    if second is None:
        return f"a {first.colour} {first.kind} {_deed(first)}"
    if scene.arrives:
        return f"a {first.colour} {first.kind} comes first and a {second.colour} {second.kind} comes last"
    if not first.moves:
        return "two shapes stay still"
    return f"a {first.colour} {first.kind} {_deed(first)} and a {second.colour} {second.kind} stays still"


def _deed(shape: Shape) -> str:
    deed = f"moves {shape.direction}" if shape.moves else "stays still"
    return f"{deed} and turns {shape.later_colour}" if shape.later_colour else deed
