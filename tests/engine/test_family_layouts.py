"""Slow and fast layouts of every family in the engine, against a plain recomputation.

Nobody else has these layouts: tests/reference_family pools the features of transformers' own towers by hand.
"""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from sfllava_plugin.engine.offline.questions import Question
from sfllava_plugin.tokens.layout import parse
from tests import reference
from tests.engine.families import Case, Layout, assert_answers_alike, embedded, expected_tokens, frames_of, shipped
from tests.engine.support import FEATURES, forget, model_of
from tests.reference_family import checkpoints, frames, models, pools, time_instruction

PLACES = ("after_projector", "before_projector")
#: Grids of 27 x 27 and 24 x 24 patches. Both checkpoints have `image_newline`.
GRIDS = {"odd": Case("onevision", {}), "even": Case("next-video", {})}
#: The pools that are defined on each.
GRID_POOLS = {"odd": ("bilinear", "average", "concat"), "even": tuple(pools.POOLS)}
FASTS = ((4, 4), (3, 3), (2, 5), (1, 1), (7, 4))


@pytest.fixture
def laid_out(monkeypatch):
    """laid_out(runner, layout): change the layout of an engine's model, for this test."""

    def change(runner, layout: Layout):
        settings = {"newline": layout.newline, "order": layout.order, "pool": layout.place}
        config = runner.video_config.model_copy(update={"pathways": parse(layout.notation), **settings})
        config.check()
        monkeypatch.setattr(model_of(runner), "video_config", config)
        return config

    return change


@pytest.fixture(scope="module")
def seen(written):
    """seen(case, frames): the features of the reference's tower, [T, g*g, C]."""
    done = {}

    def encode(case: Case, shown: np.ndarray) -> torch.Tensor:
        key = (case.kind, case.family, hash(shown.tobytes()))
        if key not in done:
            # A few at a time: eager attention keeps every product of two patches.
            chunks = [models.tower_maps(written(case), shown[i : i + 8]) for i in range(0, len(shown), 8)]
            done[key] = torch.cat(chunks)
        return done[key]

    return encode


def assert_equal_tokens(found: torch.Tensor, expected: torch.Tensor, what: object) -> None:
    assert found.shape == expected.shape, what
    assert expected.abs().max() > 1, "zeros would prove nothing"
    assert (found - expected).abs().max() < FEATURES, what


def arrangements(grid: str, newline: str) -> list[Layout]:
    """Slow and fast layouts with every order and place; pools and fast grids take turns over the whole set."""
    pooled, fasts = itertools.cycle(GRID_POOLS[grid]), itertools.cycle(FASTS)
    every = [
        Layout(3, next(pooled), next(fasts), *one) for one in itertools.product(pools.NEWLINES, pools.ORDERS, PLACES)
    ]
    assert {layout.pool for layout in every} == set(GRID_POOLS[grid])
    return [layout for layout in every if layout.newline == newline]


def arrangements_of_one(grid: str, newline: str) -> list[Layout]:
    """Layouts of one pool with every place; pools take turns over the whole set."""
    pooled = itertools.cycle(GRID_POOLS[grid])
    every = [
        Layout(0, next(pooled), newline=each, place=place)
        for each, place, _ in itertools.product(pools.NEWLINES, PLACES, range(2))
    ]
    assert {layout.pool for layout in every} == set(GRID_POOLS[grid])
    return [layout for layout in every if layout.newline == newline]


@pytest.mark.parametrize("newline", pools.NEWLINES)
@pytest.mark.parametrize("grid", GRIDS)
def test_slow_and_fast_in_every_arrangement(family_runner, written, seen, laid_out, bikes, grid, newline):
    case = GRIDS[grid]
    runner, folder = family_runner(case), written(case)
    shown = frames_of(runner, bikes)[::8]
    maps, different = seen(case, shown), []
    assert len(shown) == 4
    for layout in arrangements(grid, newline):
        config = laid_out(runner, layout)
        for count in (2, 4):  # two frames repeat a slow one
            found, expected = embedded(runner, shown[:count]), expected_tokens(folder, maps[:count], layout)
            assert_equal_tokens(found, expected, layout)
            assert len(found) == config.tokens(count)
        different.append(found)
    for one, other in itertools.combinations(different, 2):
        assert one.shape != other.shape or (one - other).abs().max() > 100 * FEATURES


@pytest.mark.parametrize("newline", pools.NEWLINES)
@pytest.mark.parametrize("grid", GRIDS)
def test_one_pool_in_every_arrangement(family_runner, written, seen, laid_out, bikes, grid, newline):
    case = GRIDS[grid]
    runner, folder = family_runner(case), written(case)
    shown = frames_of(runner, bikes)[::8]
    maps = seen(case, shown)
    for layout in arrangements_of_one(grid, newline):
        config = laid_out(runner, layout)
        found = embedded(runner, shown[:2])
        assert_equal_tokens(found, expected_tokens(folder, maps[:2], layout), layout)
        assert len(found) == config.tokens(2)


class Shipped(NamedTuple):
    """A packaged entry: its checkpoint, its layout in words, and the tokens of as many frames as it takes."""

    kind: str
    layout: Layout
    frames: int
    tokens: int
    counts: tuple[int, ...] = (1, 2, 6)


SHIPPED = {
    "sf-onevision-7b": Shipped("onevision", Layout(24, "bilinear", newline="end"), 96, 6241, (1, 2, 6, 32, 64)),
    "sf-llava-video-7b": Shipped("llava-video", Layout(32, "bilinear", newline="rows"), 128, 9280),
    "sf-llava-next-video-7b": Shipped(
        "next-video", Layout(10, "average", place="before_projector"), 50, 2240, (1, 2, 6, 32, 64)
    ),
    "sf-llava-1.5-7b": Shipped("llava-1.5", Layout(10, "spatial_1d_max_pool"), 50, 3680),
    "llava-next-image-7b": Shipped("llava-next", Layout(0, "average"), 32, 4608),
}
#: Fewer frames, which take less time. One a second leaves ten of bikes.mp4.
CHANGES = {"sf-onevision-7b": {"frames": 32}, "sf-llava-video-7b": {"sampling": "second"}}


def entry_case(name: str) -> Case:
    return shipped(SHIPPED[name].kind, name, **CHANGES.get(name, {}))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_packaged_layout(family_runner, written, seen, bikes, name):
    case, (_, layout, most, tokens, counts) = entry_case(name), SHIPPED[name]
    runner, folder = family_runner(case), written(case)
    assert runner.video_config.tokens(most) == tokens
    # The tower reads each frame by itself: twice 32 frames are 64.
    distinct = frames_of(runner, bikes)[: min(32, max(counts))]
    shown, maps = np.concatenate([distinct] * 2), torch.cat([seen(case, distinct)] * 2)
    for count in counts:
        found = embedded(runner, shown[:count])
        assert_equal_tokens(found, expected_tokens(folder, maps[:count], layout), count)
        assert len(found) == runner.video_config.tokens(count)


def test_a_packaged_layout_in_the_original_format(family_runner, written, seen, laid_out, bikes):
    case, layout = Case("onevision-original", {}), SHIPPED["sf-onevision-7b"].layout
    runner, folder = family_runner(case), written(case)
    shown = frames_of(runner, bikes)[:6]
    laid_out(runner, layout)
    for count in (1, 2, 6):
        expected = expected_tokens(folder, seen(case, shown)[:count], layout)
        assert_equal_tokens(embedded(runner, shown[:count]), expected, count)


def test_frames_of_llava_15_are_as_many_pictures(family_runner, written, laid_out, bikes):
    """FreeVA, the entry llava-1.5-7b."""
    case = entry_case("sf-llava-1.5-7b")
    runner, folder = family_runner(case), written(case)
    shown = frames_of(runner, bikes, 4)
    assert laid_out(runner, Layout(0, "concat")).tokens(4) == 2304
    assert_equal_tokens(embedded(runner, shown), models.native_video_features(folder, shown), "concat")


FITS = {
    "squash": lambda picture, side, mean: frames.squash(picture, side),
    "crop": lambda picture, side, mean: frames.crop(picture, side),
    "pad": frames.pad,
    "shrink_crop": lambda picture, side, mean: frames.shrink_crop(picture, side),
}
SAMPLINGS = {
    "middles": reference.frame_indices,
    "linspace": frames.linspace,
    "second": lambda total, wanted: frames.each_second(total, wanted, 25.0),
    "segments": frames.pllava,
}


def plain_frames(source, sampling: str, wanted: int, fit: str, grid: int) -> tuple[list[int], np.ndarray]:
    """Sample and fit bikes.mp4, 250 frames at 25 a second, by hand: indices, and uint8 [T, S, S, 3]."""
    from decord import VideoReader

    indices = SAMPLINGS[sampling](250, wanted)
    side, mean = (384, frames.HALF) if grid == 27 else (336, frames.CLIP_MEAN)
    pictures = [Image.fromarray(frame) for frame in VideoReader(str(source)).get_batch(indices).asnumpy()]
    return indices, np.stack([np.asarray(FITS[fit](picture, side, mean)) for picture in pictures])


#: The conversation of LLaVA-NeXT-Image.
VICUNA_V1 = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    "USER: <image>\nWhat is happening? ASSISTANT:"
)


@pytest.mark.parametrize("name", SHIPPED)
def test_an_answer_of_a_packaged_entry(family_runner, written, seen, bikes, name, tmp_path):
    case, (kind, layout, *_) = entry_case(name), SHIPPED[name]
    runner, folder = family_runner(case), written(case)
    answer = runner.answer(Question(str(bikes), "What is happening?", max_tokens=12, logprobs=5))
    config = runner.video_config
    wanted = {
        "sf-onevision-7b": ("linspace", 32, "squash"),
        "sf-llava-video-7b": ("second", 128, "squash"),
        "sf-llava-next-video-7b": ("linspace", 50, "crop"),
        "sf-llava-1.5-7b": ("middles", 50, "crop"),
        "llava-next-image-7b": ("linspace", 32, "crop"),
    }
    indices, shown = plain_frames(bikes, *wanted[name], config.geometry.rows)
    assert answer.frames == indices
    features, sentence = expected_tokens(folder, seen(case, shown), layout), ""
    if name == "sf-llava-video-7b":
        sentence = time_instruction.for_video(250, 25.0, indices, uniform=False) + "\n"
    if name == "llava-next-image-7b":
        assert answer.prompt.removeprefix("<s>") == VICUNA_V1
        scaled = {"text_config": {"rope_scaling": {"factor": 2.0, "type": "linear"}}}
        folder = checkpoints.write(tmp_path, kind, changes=scaled)
    assert_answers_alike(answer, folder, runner, features, sentence)


@pytest.mark.parametrize(("sampling", "fit"), zip(SAMPLINGS, ("squash", "crop", "pad", "shrink_crop"), strict=True))
@pytest.mark.parametrize("grid", GRIDS)
def test_an_answer_to_frames_sampled_and_fitted_by_hand(
    family_runner, written, bikes, monkeypatch, grid, sampling, fit
):
    case = GRIDS[grid]
    runner, folder = family_runner(case), written(case)
    # One path and number of frames: the caches would give the frames of another test.
    forget(runner)
    config = runner.video_config.model_copy(update={"sampling": sampling, "fit": fit})
    monkeypatch.setattr(runner._planner, "_video_config", config)
    monkeypatch.setattr(runner._planner, "_video_tokens", config.tokens)
    monkeypatch.setattr(runner._planner, "_frames", 12)
    answer = runner.answer(Question(str(bikes), "What is happening?", max_tokens=12, logprobs=5))
    indices, shown = plain_frames(bikes, sampling, 12, fit, config.geometry.rows)
    assert answer.frames == indices and len(indices) == (10 if sampling == "second" else 12)
    assert_answers_alike(answer, folder, runner, models.native_video_features(folder, shown))
    forget(runner)
