"""Pools, newlines, orders and places of pooling, against the reference of the family.

tests/reference_family/pools.py was written from a specification alone, and shares no code with the package.
"""

import itertools

import pytest
import torch
from torch.nn import functional as F

from sfllava_plugin.tokens.arrangement import Arrangement
from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.layout import Interleaved, TokenLayout, parse, video_tokens
from sfllava_plugin.tokens.notation import POOLS, PathwayError
from tests.reference_family import pools as reference

GRIDS = [Grid(rows=r, columns=c) for r, c in ((24, 24), (27, 27), (7, 7), (6, 6), (5, 8), (6, 4))]
FRAMES = (1, 2, 6, 32, 64)
PLACES = ("after_projector", "before_projector")
ARRANGEMENTS = [Arrangement(*each) for each in itertools.product(reference.NEWLINES, reference.ORDERS, PLACES)]
#: Frames and arrangements: all of a short video, and of a long one each setting in turn, which takes less time.
VIDEOS = [(frames, each) for frames in FRAMES for each in (ARRANGEMENTS if frames < 32 else ARRANGEMENTS[::5])]
#: Everything is in double precision: in single, torch's own bilinear positions are some 1e-5 off.
TOLERANCE = 1e-9


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


_FIRST, _SECOND = normal(3, 8), normal(8, 5)
_BIAS, NEWLINE, FASTER = normal(3, 5)
EXTRA = {"image_newline": NEWLINE, "faster_token": FASTER}


def hidden_of(features: torch.Tensor) -> torch.Tensor:
    return F.gelu(features @ _FIRST)


def second(hidden: torch.Tensor) -> torch.Tensor:
    return hidden @ _SECOND + _BIAS


def projector(features: torch.Tensor) -> torch.Tensor:
    return second(hidden_of(features))


def features_of(frames: int, grid: Grid) -> torch.Tensor:
    return normal(frames, grid.patches, 3)


def tokens_of(layout: TokenLayout, features: torch.Tensor, grid: Grid, at_once: int = 5) -> torch.Tensor:
    """Make tokens as the model does: chunk by chunk, of hidden features if pooling follows the projector."""
    layout.check(grid)
    before = layout.arrangement.pool == "before_projector"
    chunks = (chunk if before else hidden_of(chunk) for chunk in features.split(at_once))
    tokens = layout.tokens(chunks, len(features), grid, projector if before else second, EXTRA)
    assert len(tokens) == layout.count(len(features), grid)
    return tokens


def maps_of(features: torch.Tensor, grid: Grid, place: str) -> tuple[torch.Tensor, reference.Project]:
    """Maps for the reference, and the part of the projector that follows its pools."""
    maps = features.unflatten(1, (grid.rows, grid.columns))
    return (maps, projector) if place == "before_projector" else (projector(maps), lambda pooled: pooled)


def defined(pool: str, grid: Grid) -> bool:
    return not (pool.startswith("spatial") and (grid.rows % 2 or grid.columns % 2))


CASES = [(pool, grid) for pool in POOLS for grid in GRIDS if defined(pool, grid)]


@pytest.mark.parametrize(("pool", "grid"), CASES, ids=str)
def test_slow_and_fast_tokens_equal_the_reference(pool, grid):
    for frames, arrangement in VIDEOS:
        features, layout = features_of(frames, grid), parse(f"slowfast-slow_5frms_{pool}-fast_3x2")
        maps, project = maps_of(features, grid, arrangement.pool)
        own = (5, pool, (3, 2), arrangement.newline, NEWLINE, arrangement.order, project)
        expected, found = reference.slowfast(maps, *own), tokens_of(layout.arranged(arrangement), features, grid)
        torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0, msg=f"{frames} {arrangement}")


@pytest.mark.parametrize(("pool", "grid"), CASES, ids=str)
def test_frames_pooled_alike_equal_the_reference(pool, grid):
    for frames, arrangement in VIDEOS:
        features = features_of(frames, grid)
        maps, project = maps_of(features, grid, arrangement.pool)
        expected = reference.every_frame(maps, pool, arrangement.newline, NEWLINE, project)
        found = tokens_of(parse(pool).arranged(arrangement), features, grid)
        torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0, msg=f"{frames} {arrangement}")


@pytest.mark.parametrize("grid", [grid for grid in GRIDS if grid.columns > 3], ids=str)
@pytest.mark.parametrize("pool", ["bilinear", "average"])
def test_interleaved_frames_equal_the_reference(pool, grid):
    for frames, every in itertools.product(FRAMES, (1, 2, 3, 10)):
        features = features_of(frames, grid)
        maps, _ = maps_of(features, grid, "after_projector")
        found = tokens_of(parse(f"interleaved_{every}_{pool}"), features, grid)
        expected = reference.interleaved(maps, every, NEWLINE, FASTER, pool)
        torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("newline", reference.NEWLINES)
def test_a_frame_ends_in_faster_token_wherever_newlines_stand(newline):
    grid = Grid(rows=9, columns=9)
    features = features_of(5, grid)
    maps, _ = maps_of(features, grid, "after_projector")
    expected = []
    for i, frame in enumerate(maps):
        pooled = reference.bilinear(frame[None], 4 if i % 2 else 2)[0]
        expected += [reference.frame_tokens(pooled, newline, NEWLINE), FASTER[None]]
    expected += [NEWLINE[None]] if newline == "end" else []
    found = tokens_of(Interleaved(2, arrangement=Arrangement(newline, "time")), features, grid)
    torch.testing.assert_close(found, torch.cat(expected), atol=TOLERANCE, rtol=0)


def test_interleaved_frames_have_short_names_and_slow_frames():
    assert str(parse("interleaved_3")) == "interleaved_3_bilinear"
    assert parse("interleaved_3").slow_frames(8) == [0, 3, 6]
    assert parse("interleaved_10").slow_frames(1) == [0]
    assert parse("interleaved_3").extra_weights == ("image_newline", "faster_token")
    assert Interleaved(3, arrangement=Arrangement("none", "time")).extra_weights == ("faster_token",)


@pytest.mark.parametrize(
    ("arrangement", "message"),
    [
        (Arrangement("rows"), r"interleaved_3_bilinear is in time order, not order 'slow_first': use order 'time'"),
        (Arrangement("rows", "time", "before_projector"), r"pools after the projector, not pool 'before_projector': "),
    ],
)
def test_interleaved_frames_in_an_arrangement_they_were_not_trained_in_are_refused(arrangement, message):
    with pytest.raises(PathwayError, match=message):
        parse("interleaved_3").arranged(arrangement).check(Grid(rows=27, columns=27))


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        ("interleaved_0", "every NUMBER-th frame is slow: use a whole number from 1 on, not 0"),
        ("interleaved_3_max", "unknown interleaved pool 'max': use one of bilinear, average"),
        ("interleaved_", "unknown pathway 'interleaved_': use .*interleaved_NUMBER_POOL"),
    ],
)
def test_notations_of_no_interleaved_layout(notation, message):
    with pytest.raises(PathwayError, match=message):
        parse(notation)


def test_a_grid_too_small_for_an_average_of_four_is_refused():
    with pytest.raises(PathwayError, match="average needs a patch grid of 4x4 or more, this tower has 3x8"):
        parse("interleaved_3_average").check(Grid(rows=3, columns=8))


@pytest.mark.parametrize("notation", ["bilinear", "slowfast-slow_2frms_average-fast_2x2", "interleaved_3"])
def test_a_weight_that_is_missing_is_named(notation):
    layout = parse(notation).arranged(Arrangement("rows", "time"))
    with pytest.raises(PathwayError, match=r"needs the weight .* in extra"):
        video_tokens(torch.zeros(2, 36, 3), layout)
    assert len(video_tokens(torch.zeros(2, 36, 5), layout, extra=EXTRA))


@pytest.mark.parametrize("notation", ["bilinear", "slowfast-slow_9frms_bilinear-fast_4x4", "interleaved_3_average"])
@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_chunks_change_nothing(notation, at_once):
    grid = Grid(rows=27, columns=27)
    layout, features = parse(notation).arranged(Arrangement("rows", "time")), features_of(20, grid)
    # One product each of the hidden features: products of other sizes round otherwise.
    hidden = hidden_of(features)
    tokens = layout.tokens(hidden.split(at_once), 20, grid, second, EXTRA)
    assert torch.equal(tokens, layout.tokens([hidden], 20, grid, second, EXTRA))


NATIVE, SLOWFAST = "bilinear", "slowfast-slow_{}frms_bilinear-fast_{}"
COUNTS = [
    (NATIVE, 32, "end", 6273),
    (NATIVE, 64, "end", 12545),
    (NATIVE, 32, "rows", 6720),
    (NATIVE, 64, "rows", 13440),
    ("average", 64, "rows", 11648),
    ("interleaved_3_bilinear", 64, "rows", 7036),
    ("interleaved_3_average", 64, "rows", 5832),
    ("interleaved_10_bilinear", 64, "rows", 4726),
    ("interleaved_10_average", 64, "rows", 3732),
    ("interleaved_1_bilinear", 64, "rows", 13504),
    ("interleaved_1_average", 64, "rows", 11712),
    *(
        (SLOWFAST.format(slow, fast), frames, newline, tokens)
        for slow, frames, fast, end, rows in (
            (10, 50, "4x4", 2761, 3100),
            (24, 96, "4x4", 6241, 6960),
            (32, 64, "4x4", 7297, 8000),
            (32, 128, "4x4", 8321, 9280),
            (32, 128, "2x2", 6785, 7488),
            (48, 128, "4x4", 11457, 12640),
        )
        for newline, tokens in (("end", end), ("rows", rows))
    ),
]


@pytest.mark.parametrize(("notation", "frames", "newline", "tokens"), COUNTS)
def test_counts_of_the_specification(notation, frames, newline, tokens):
    """On 27 x 27 patches, as LLaVA-OneVision (end) and LLaVA-Video (rows) have them."""
    grid = Grid(rows=27, columns=27)
    layout = parse(notation).arranged(Arrangement(newline, "time"))
    assert layout.count(frames, grid) == tokens
    assert len(video_tokens(torch.zeros(frames, 729, 5), layout, extra=EXTRA)) == tokens


@pytest.mark.parametrize(
    ("notation", "frames", "tokens"), [("average", 32, 4608), (SLOWFAST.format(10, "4x4"), 50, 2240)]
)
def test_counts_of_next_video(notation, frames, tokens):
    layout = parse(notation).arranged(Arrangement(pool="before_projector"))
    assert layout.count(frames, Grid(rows=24, columns=24)) == tokens
