"""The world of shapes: reproducible, drawn as described, with correct answers."""

import random

import numpy as np
import pytest

from sfllava_plugin.shapes import clips
from sfllava_plugin.shapes.drawing import RGB, draw
from sfllava_plugin.shapes.questions import ANSWERS, multiple_choice
from sfllava_plugin.shapes.scenes import FLASH_WINDOWS, Flash, Scene, Shape, random_scene
from sfllava_plugin.tokens.layout import Fast, Slow, SlowFast
from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.sampling import sample_indices

RED_CIRCLE = Shape("circle", "red", (0.25, 0.5), (0.75, 0.5), 0.14)


def scene(*shapes: Shape, flash: Flash | None = None) -> Scene:
    return Scene(seed=1, shapes=shapes, ground="plain", flash=flash)


def answers(shown: Scene) -> dict[str, list[str]]:
    """Answers to every question about a scene, by kind."""
    from sfllava_plugin.shapes.questions import questions

    found: dict[str, list[str]] = {}
    for question in questions(shown, random.Random(0)):
        found.setdefault(question.kind, []).append(question.answer)
    return found


def where(picture: np.ndarray, colour: str) -> tuple[float, float]:
    """Mean position of a colour's pixels, in fractions of the side."""
    close = np.abs(picture.astype(int) - RGB[colour]).sum(-1) < 60
    down, across = np.nonzero(close)
    return (across.mean() + 0.5) / len(picture), (down.mean() + 0.5) / len(picture)


def test_a_seed_decides_the_clip():
    assert clips.clip(7) == clips.clip(7)
    assert clips.clip(7) != clips.clip(8)


@pytest.mark.parametrize("kind", ["circle", "square", "cross", "triangle"])
def test_shapes_are_drawn_where_the_scene_puts_them(kind):
    shape = Shape(kind, "red", (0.25, 0.5), (0.75, 0.5), 0.14)
    for time, picture in zip((0, 0.5, 1), draw(scene(shape), [0, 0.5, 1], 192), strict=True):
        # The triangle's corners are centred, its area is not: hence the tolerance.
        assert where(picture, "red") == pytest.approx(shape.centre_at(time), abs=0.025)


def test_colours_change_and_shapes_arrive_on_time():
    shape = Shape("circle", "red", (0.25, 0.5), (0.25, 0.5), 0.14, later_colour="blue", changes_at=0.5)
    later = Shape("square", "white", (0.75, 0.5), (0.75, 0.5), 0.14, appears_at=0.4)
    before, after = draw(scene(shape, later), [0.39, 0.51], 96)
    assert tuple(before[48, 24]) == RGB["red"]
    assert tuple(after[48, 24]) == RGB["blue"]
    assert before[48, 72].max() < 100
    assert tuple(after[48, 72]) == RGB["white"]


def test_questions_about_one_moving_shape():
    found = answers(scene(RED_CIRCLE, flash=Flash("green", 0.35)))
    assert found["direction"] == ["right"]
    assert found["place at the start"] == ["left", "middle"]
    assert found["place at the end"] == ["right", "middle"]
    assert found["change"] == ["position"]
    assert found["count"] == ["one", "one"]
    assert found["flash"] == ["green"]
    assert found["description"] == ["a red circle moves right"]


@pytest.mark.parametrize(
    ("end", "direction"),
    [((0.75, 0.25), "right"), ((0.25, 0.75), "down"), ((0.25, 0.25), "nowhere")],
)
def test_directions(end, direction):
    shape = Shape("circle", "red", (0.25, 0.25), end, 0.14)
    assert shape.direction == direction
    back = Shape("circle", "red", end, (0.25, 0.25), 0.14)
    assert back.direction == {"right": "left", "down": "up", "nowhere": "nowhere"}[direction]


def test_questions_about_a_shape_that_arrives_later():
    first = Shape("cross", "blue", (0.25, 0.25), (0.25, 0.25), 0.14)
    second = Shape("square", "white", (0.75, 0.75), (0.75, 0.75), 0.14, appears_at=0.5)
    found = answers(scene(first, second))
    assert found["order"] == ["cross", "square"]
    assert found["count"] == ["one", "two"]
    assert found["change"] == ["number"]
    assert found["flash"] == ["none"]
    assert found["description"] == ["a blue cross comes first and a white square comes last"]


def test_two_changes_give_no_question_about_the_change():
    both = Shape("circle", "red", (0.25, 0.5), (0.75, 0.5), 0.14, later_colour="blue", changes_at=0.5)
    assert "change" not in answers(scene(both))


def test_options_contain_the_answer_once_and_in_any_place():
    rng, places = random.Random(0), set()
    for seed in range(60):
        for question in clips.clip(seed).open_ended:
            if question.pool:
                asked = multiple_choice(question, rng)
                assert len(set(asked.options)) == len(asked.options) <= 4
                assert asked.options["ABCDE".index(asked.letter)] == question.answer
                places.add(asked.letter)
    assert places == set("ABCD")


def test_every_kind_and_every_answer_occur():
    seen: dict[str, set[str]] = {}
    for seed in range(400):
        for question in clips.clip(seed).open_ended:
            seen.setdefault(question.kind, set()).add(question.answer)
    assert set(seen) == set(ANSWERS)
    for kind, pool in ANSWERS.items():
        if pool and kind != "count":
            assert seen[kind] == set(pool)


def test_shapes_stay_inside_and_apart():
    for seed in range(500):
        shapes = random_scene(seed).shapes
        for time in (0, 0.5, 1):
            centres = [np.array(shape.centre_at(time)) for shape in shapes]
            for shape, centre in zip(shapes, centres, strict=True):
                assert centre.min() > shape.radius * 0.9
                assert centre.max() < 1 - shape.radius * 0.9
            if len(shapes) == 2:
                assert np.abs(centres[0] - centres[1]).max() > 0.8 * sum(shape.radius for shape in shapes)


@pytest.mark.parametrize("frames", [8, 16, 32])
@pytest.mark.parametrize("slow", [2, 4])
def test_flashes_miss_the_slow_frames_and_hit_a_fast_one(frames, slow):
    times = [clips.moment(index) for index in sample_indices(clips.FRAMES, frames)]
    slow_times = {times[position] for position in SlowFast(Slow(slow, "concat"), Fast(1, 1)).slow_frames(frames)}
    for low, high in FLASH_WINDOWS:
        assert not [time for time in slow_times if low <= time < high]
    for seed in range(300):
        if flash := random_scene(seed).flash:
            seen = [time for time in times if flash.lights(time)]
            assert seen
            assert not slow_times & set(seen)


def test_a_written_clip_shows_the_scene(tmp_path):
    path = clips.write_clip(scene(RED_CIRCLE), tmp_path / "clip.mp4")
    video = decode(path, num_frames=16, image_size=48)
    assert video.total_frames == clips.FRAMES
    for index, frame in zip(video.indices, video.frames, strict=True):
        assert where(frame, "red") == pytest.approx(RED_CIRCLE.centre_at(clips.moment(index)), abs=0.03)
    assert [path] == list(tmp_path.iterdir())


def test_a_folder_of_clips_comes_with_questions_and_truth(tmp_path):
    import json

    count = clips.write_folder(tmp_path, [3, 4])
    asked, truth = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("questions.jsonl", "truth.jsonl")
    )
    assert len(asked) == len(truth) == count
    assert [row["id"] for row in asked] == [row["id"] for row in truth]
    assert len({row["id"] for row in asked}) == count
    for row, known in zip(asked, truth, strict=True):
        assert (tmp_path / row["video"]).exists()
        if "options" in row:
            assert known["answer"] in "ABCD"
