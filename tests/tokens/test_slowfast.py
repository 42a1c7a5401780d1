"""The pathways against numbers of the released program, and against their own definition."""

import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.layout import DEFAULT, Fast, Single, Slow, SlowFast, parse, video_tokens
from sfllava_plugin.tokens.notation import POOLS, RELEASED_POOLS, TEMPORAL_POOLS, PathwayError
from tests import reference

DATA = Path(__file__).parents[1] / "data"
VECTORS = np.load(DATA / "pathways.npz")
INDICES = json.loads((DATA / "indices.json").read_text(encoding="utf-8"))["slow_indices"]
CASES = [name for name in VECTORS.files if "|" in name]
NOTATIONS = sorted({name.partition("|")[0] for name in CASES})


def square(side: int) -> Grid:
    return Grid(rows=side, columns=side)


def features(frames: int, grid: int, width: int = 3) -> torch.Tensor:
    return torch.randn(frames, grid * grid, width, generator=torch.Generator().manual_seed(frames))


def test_the_vectors_hold_every_pool_and_both_short_and_long_videos():
    pools = {name for name in NOTATIONS if not name.startswith("slowfast")}
    assert pools == {*RELEASED_POOLS, *TEMPORAL_POOLS}
    assert {name.partition("|")[2] for name in CASES} == {"1", "5", "12", "50"}


@pytest.mark.parametrize("case", CASES)
def test_released_program_gives_the_same_tokens(case):
    notation, _, frames = case.partition("|")
    tokens = video_tokens(torch.from_numpy(VECTORS[f"features_{frames}"]), parse(notation))
    np.testing.assert_allclose(tokens.numpy(), VECTORS[case], atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_released_program_gives_as_many_tokens(case):
    notation, _, frames = case.partition("|")
    assert parse(notation).count(int(frames), square(24)) == len(VECTORS[case])


def slow_frames(frames: int, slow: int) -> list[int]:
    return SlowFast(Slow(slow, "concat"), Fast(1, 1)).slow_frames(frames)


def test_released_program_takes_the_same_slow_frames():
    found = {case: slow_frames(*map(int, case.split(","))) for case in INDICES}
    assert len(found) == 176
    assert found == INDICES


@pytest.mark.parametrize(
    ("notation", "frames", "count"),
    [
        ("slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4", 50, 3680),  # the paper's, 10 * 288 + 50 * 16
        ("slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4", 1, 2896),  # repeats its one slow frame
        ("slowfast-slow_10frms_concat-fast_4x4", 50, 6560),
        ("slowfast-slow_10frms_spatial_2d_avg_pool-fast_5x7", 50, 3190),
        ("concat", 2, 1152),
        ("spatial_temporal_pool", 3, 2304),
        ("temporal_global_pool", 200, 576),
    ],
)
def test_token_counts_of_the_specification(notation, frames, count):
    assert parse(notation).count(frames, square(24)) == count


@pytest.mark.parametrize("grid", [6, 24])
@pytest.mark.parametrize("frames", [1, 2, 7, 16, 17])
@pytest.mark.parametrize("notation", NOTATIONS)
def test_tokens_equal_the_plain_recomputation(notation, frames, grid):
    pathways = parse(notation.replace("8x8", "6x6").replace("5x7", "5x3") if grid == 6 else notation)
    pathways.check(square(grid))
    given_features = features(frames, grid)
    tokens = video_tokens(given_features, pathways)
    expected = reference.pathway(given_features, str(pathways))
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)
    assert pathways.count(frames, square(grid)) == len(expected)


@pytest.mark.parametrize("grid", [1, 5, 7, 27])
@pytest.mark.parametrize(
    "notation", ["concat", "slowfast-slow_3frms_concat-fast_1x1", "spatial_temporal_pool", "temporal_global_pool"]
)
def test_odd_grids_work_where_no_pool_of_two_is(notation, grid):
    pathways = parse(notation)
    pathways.check(square(grid))
    expected = reference.pathway(features(4, grid), notation)
    torch.testing.assert_close(video_tokens(features(4, grid), pathways), expected, atol=1e-5, rtol=1e-5)
    assert pathways.count(4, square(grid)) == len(expected)


@pytest.mark.parametrize("pool", [pool for pool in RELEASED_POOLS if pool != "concat"])
@pytest.mark.parametrize("make", [Single, lambda pool: SlowFast(Slow(2, pool), Fast(1, 1))])
def test_pools_of_two_are_refused_on_an_odd_grid(pool, make):
    with pytest.raises(PathwayError, match=rf"{pool} needs an even patch grid, this tower has 27x27"):
        make(pool).check(square(27))


@pytest.mark.parametrize(("height", "width"), [(25, 1), (1, 25)])
def test_a_fast_grid_finer_than_the_tower_is_refused(height, width):
    with pytest.raises(PathwayError, match=rf"fast_{height}x{width}: the fast grid is finer than the tower's 24x24"):
        SlowFast(Slow(2, "concat"), Fast(height, width)).check(square(24))


@pytest.mark.parametrize("notation", NOTATIONS)
def test_projecting_inside_equals_projecting_before(notation):
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(4, 5, generator=generator), torch.randn(5, generator=generator)

    def project(tokens):
        return tokens @ weight + bias

    given_features = torch.from_numpy(VECTORS["features_5"])
    inside = video_tokens(given_features, parse(notation), project)
    before = video_tokens(project(given_features), parse(notation))
    assert inside.shape == (len(VECTORS[f"{notation}|5"]), 5)
    torch.testing.assert_close(inside, before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 3, 16, 50])
@pytest.mark.parametrize("notation", NOTATIONS)
def test_chunks_of_frames_give_the_same_tokens(notation, size):
    weight = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    given_features = torch.from_numpy(VECTORS["features_50"])
    chunks = (chunk.clone() for chunk in given_features.split(size))
    tokens = parse(notation).tokens(chunks, 50, square(24), lambda tokens: tokens @ weight, {})
    whole = video_tokens(given_features, parse(notation), lambda tokens: tokens @ weight)
    if "temporal" in notation:
        # Sums over time are taken in another order.
        torch.testing.assert_close(tokens, whole, atol=2e-6, rtol=1e-6)
    else:
        assert torch.equal(tokens, whole)


@pytest.mark.parametrize("notation", [str(DEFAULT), "spatial_2d_avg_pool", "spatial_1d_max_pool", *TEMPORAL_POOLS])
def test_chunks_are_let_go_once_they_are_pooled(notation):
    chunks: list[weakref.ref] = []

    def counted():
        for number in range(30):
            # The one before may still be in the caller's hands.
            assert sum(chunk() is not None for chunk in chunks) <= 1, f"chunk {number}: earlier ones are kept"
            chunk = features(2, 24)
            chunks.append(weakref.ref(chunk))
            yield chunk
            del chunk

    assert len(parse(notation).tokens(counted(), 60, square(24), lambda tokens: tokens, {})) == parse(notation).count(
        60, square(24)
    )


@pytest.mark.parametrize("notation", NOTATIONS)
def test_notation_survives_parse_and_str(notation):
    assert str(parse(notation)) == notation
    assert parse(parse(notation)) == parse(notation)


def test_the_mapping_says_the_same_as_the_notation():
    mapping = {"slow": {"frames": 8, "pool": "spatial_2d_avg_pool"}, "fast": {"height": 5, "width": 7}}
    assert parse(mapping) == parse("slowfast-slow_8frms_spatial_2d_avg_pool-fast_5x7")
    assert str(parse(mapping)) == "slowfast-slow_8frms_spatial_2d_avg_pool-fast_5x7"


def test_the_default_is_the_papers():
    assert str(DEFAULT) == "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4"


FAST = {"height": 4, "width": 4}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("slowfast-slow_10frms_median_pool-fast_4x4", "unknown slow pool 'median_pool': use one of concat, "),
        ("slowfast-slow_10frms_concat-fast_4", "unknown pathway 'slowfast-slow_10frms_concat-fast_4'"),
        ("slowfast-slow_0frms_concat-fast_4x4", "slow frames must be a whole number from 1 on, not 0"),
        ("slowfast-slow_1frms_concat-fast_4x0", "fast grid .* not 4x0"),
        ("mean", "unknown pathway 'mean'.*temporal_global_pool"),
        ("", "unknown pathway ''"),
        (None, "unknown pathways None"),
        (7, "unknown pathways 7"),
        ({"slow": {"frames": 1, "pool": "concat"}}, "unknown pathways .*a mapping of slow and fast"),
        ({"slow": {"frames": 1}, "fast": FAST}, "slow takes frames and pool"),
        ({"slow": {"frames": 1, "pool": "concat", "stride": 2}, "fast": FAST}, "'stride'.*slow takes frames and pool"),
        ({"slow": {"frames": 1, "pool": "concat"}, "fast": None}, "fast takes height and width"),
        ({"slow": {"frames": 1, "pool": ["concat"]}, "fast": FAST}, r"unknown slow pool \['concat'\]"),
        ({"slow": {"frames": 10.5, "pool": "concat"}, "fast": FAST}, "slow frames .* not 10.5"),
        ({"slow": {"frames": True, "pool": "concat"}, "fast": FAST}, "slow frames .* not True"),
        ({"slow": {"frames": "10", "pool": "concat"}, "fast": FAST}, "slow frames .* not '10'"),
        ({"slow": {"frames": 1, "pool": "concat"}, "fast": {"height": 2.0, "width": 4}}, "fast grid .* not 2.0x4"),
    ],
)
def test_errors_name_what_was_found(value, message):
    with pytest.raises(PathwayError, match=message):
        parse(value)


POOL_NAMES = st.sampled_from(POOLS)
PATHWAYS = st.one_of(
    st.builds(Single, st.sampled_from([*POOLS, *TEMPORAL_POOLS])),
    st.builds(
        SlowFast,
        st.builds(Slow, st.integers(1, 40), POOL_NAMES),
        st.builds(Fast, st.integers(1, 12), st.integers(1, 12)),
    ),
)


@settings(max_examples=300)
@given(pathways=PATHWAYS, frames=st.integers(1, 30), grid=st.integers(1, 12))
def test_every_pathway_is_counted_right_or_refused(pathways, frames, grid):
    both = isinstance(pathways, SlowFast)
    pool = pathways.slow.pool if both else pathways.pool
    undefined = grid % 2 if pool in RELEASED_POOLS and pool != "concat" else pool == "average" and grid < 2
    if undefined or (both and max(pathways.fast.height, pathways.fast.width) > grid):
        with pytest.raises(PathwayError):
            pathways.check(square(grid))
    else:
        pathways.check(square(grid))
        assert len(video_tokens(features(frames, grid, 1), pathways)) == pathways.count(frames, square(grid))


@given(frames=st.integers(1, 1024), slow=st.integers(1, 200))
def test_slow_frames_are_in_the_video_in_time_order_and_start_at_its_first(frames, slow):
    positions = slow_frames(frames, slow)
    assert len(positions) == slow
    assert positions == sorted(positions)
    assert positions[0] == 0
    assert positions[-1] < frames
