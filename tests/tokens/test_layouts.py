"""Every registered token layout keeps the contract of `TokenLayout`, on square, oblong and odd grids."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from sfllava_plugin.tokens.arrangement import Newline
from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.layout import LAYOUTS, ImageGrid, Interleaved, SlowFast, TokenLayout, parse, video_tokens
from sfllava_plugin.tokens.notation import POOLS, TEMPORAL_POOLS, PathwayError

#: Notations of each kind; a new kind of layout needs its own here.
EXAMPLES = {
    "SlowFast": [f"slowfast-slow_3frms_{pool}-fast_{cells}" for pool in POOLS for cells in ("1x1", "2x3", "4x4")],
    "Single": [*POOLS, *TEMPORAL_POOLS],
    "Thumbnail": [
        *(f"thumbnail_{frames}+sampled_{tokens}" for frames in (1, 4, 6, 8) for tokens in (1, 100, 2880)),
        "thumbnail_6_first+sampled_2880",
        "thumbnail_5",
    ],
    "Grids": [f"grids_{each}" for each in (1, 4, 6, 8)],
    "ImageGrid": ["image_grid_3x2", "image_grid_2x2", "image_grid_1x5"],
    "Interleaved": [f"interleaved_{every}_{pool}" for every in (1, 3, 10) for pool in ("bilinear", "average")],
}
NOTATIONS = [notation for layout in LAYOUTS for notation in EXAMPLES[layout.__name__]]
GRIDS = [Grid(rows=rows, columns=columns) for rows, columns in ((24, 24), (6, 4), (4, 6), (27, 27), (5, 8))]
#: Heights and widths of frames, for layouts that take them as they are.
SIZES = [None, (240, 320), (720, 1280), (50, 20), (336, 336)]
EXTRA = {"image_newline": torch.ones(3), "faster_token": torch.full((3,), 2.0)}


def features(frames: int, grid: Grid) -> torch.Tensor:
    return torch.randn(frames, grid.patches, 3, generator=torch.Generator().manual_seed(grid.patches + frames))


def fits(layout: TokenLayout, grid: Grid) -> bool:
    try:
        layout.check(grid)
    except PathwayError as error:
        assert str(layout) in str(error) and str(grid) in str(error)
        return False
    return True


def test_every_kind_of_layout_has_examples_of_all_its_forms():
    assert set(EXAMPLES) == {layout.__name__ for layout in LAYOUTS}
    for layout in LAYOUTS:
        assert all(isinstance(parse(notation), layout) for notation in EXAMPLES[layout.__name__])
        assert all(isinstance(parse(notation), TokenLayout) for notation in EXAMPLES[layout.__name__])


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_notation_survives_parsing(notation):
    assert str(parse(notation)) == notation
    assert parse(parse(notation)) == parse(notation)
    assert hash(parse(notation)) == hash(parse(notation))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("notation", NOTATIONS)
def test_as_many_tokens_are_made_as_counted(notation, grid):
    layout = parse(notation)
    if fits(layout, grid):
        for frames in (1, 2, 7):
            for size in SIZES if layout.NATIVE_SIZE else (None,):
                pictures = features(layout.pictures(frames, grid, size), grid)
                made = video_tokens(pictures, layout, grid=grid, extra=EXTRA, frames=frames, size=size)
                assert made.shape == (layout.count(frames, grid, size), 3)
                assert made.isfinite().all()


@pytest.mark.parametrize("notation", ["thumbnail_6+sampled_2880", "thumbnail_8", "grids_4", "grids_6"])
def test_counts_hold_for_videos_of_any_length(notation):
    layout, grid = parse(notation), Grid(rows=24, columns=24)
    for frames in range(1, 101):
        pictures = torch.zeros(layout.pictures(frames, grid), grid.patches, 1)
        assert len(video_tokens(pictures, layout, grid=grid, frames=frames)) == layout.count(frames, grid)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_no_size_has_more_tokens_than_are_counted_without_one(notation):
    layout, grid = parse(notation), Grid(rows=24, columns=24)
    counts = {layout.count(6, grid, (height, width)) for height in range(10, 900, 47) for width in range(10, 900, 31)}
    assert max(counts) <= layout.count(6, grid)
    if isinstance(layout, ImageGrid):
        assert layout.count(6, grid) == layout.count(6, grid, layout.largest(grid)) == 576 + 48 * 49


def test_features_of_another_number_of_pictures_are_refused():
    message = "thumbnail_6[+]sampled_9 of 4 frames takes the features of 5 pictures, not 4"
    with pytest.raises(PathwayError, match=message):
        video_tokens(torch.zeros(4, 4, 1), "thumbnail_6+sampled_9")


@pytest.mark.parametrize("notation", NOTATIONS)
def test_slow_frames_are_frames_of_the_video_in_time_order(notation):
    for frames in (1, 2, 50):
        slow = parse(notation).slow_frames(frames)
        assert slow == sorted(slow)
        assert all(0 <= position < frames for position in slow)
        assert bool(slow) == isinstance(parse(notation), SlowFast | Interleaved)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_layout_composes_as_many_pictures_as_it_counts(notation):
    layout, grid = parse(notation), Grid(rows=24, columns=24)
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (7, 240, 240, 3), np.uint8))
    if layout.NATIVE_SIZE:
        return  # its pictures are composed before, from frames of any size
    batches = layout.compose(frames)
    assert sum(map(len, batches)) == layout.pictures(len(frames), grid)
    assert all(batch.shape[1:] == frames.shape[1:] for batch in batches)
    if not notation.startswith(("thumbnail", "grids")):
        torch.testing.assert_close(torch.cat(list(batches)), frames)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_layout_names_the_weights_it_needs(notation):
    layout, grid = parse(notation), Grid(rows=24, columns=24)
    for newline in get_args(Newline):
        arranged = layout.arranged(replace(layout.arrangement, newline=newline))
        needed = {name: EXTRA[name] for name in arranged.extra_weights}
        assert ("image_newline" in needed) == (newline != "none" or layout.NATIVE_SIZE)
        assert ("faster_token" in needed) == notation.startswith("interleaved")
        pictures = features(arranged.pictures(3, grid), grid)
        made = arranged.tokens([pictures], 3, grid, lambda tokens: tokens, needed)
        assert len(made) == arranged.count(3, grid)


def plain_pool(frame: list[list[float]], pool: str) -> list[float]:
    """Pools of two, patch by patch."""
    rows, columns = len(frame), len(frame[0])
    flat = [value for row in frame for value in row]
    if pool == "concat":
        return flat
    if "_1d_" in pool:
        windows = [flat[i : i + 2] for i in range(0, len(flat), 2)]
    else:
        corners = [(row, column) for row in range(0, rows, 2) for column in range(0, columns, 2)]
        windows = [[frame[r + i][c + j] for i in (0, 1) for j in (0, 1)] for r, c in corners]
    return [max(window) if "max" in pool else sum(window) / len(window) for window in windows]


@pytest.mark.parametrize("grid", [Grid(rows=6, columns=4), Grid(rows=2, columns=8)], ids=str)
@pytest.mark.parametrize("pool", POOLS)
def test_oblong_grids_are_pooled_row_by_row(pool, grid):
    frames = features(2, grid)[..., :1]
    expected = [plain_pool(frame.view(grid.rows, grid.columns).tolist(), pool) for frame in frames]
    found = video_tokens(frames, pool, grid=grid)[:, 0]
    torch.testing.assert_close(found, torch.tensor(expected).flatten())


def test_the_cells_of_an_oblong_grid_are_rows_by_columns():
    grid = Grid(rows=4, columns=6)
    frame = torch.arange(24.0).view(1, 24, 1)
    fast = video_tokens(frame, "slowfast-slow_1frms_concat-fast_2x3", grid=grid)[24:, 0]
    assert fast.tolist() == [3.5, 5.5, 7.5, 15.5, 17.5, 19.5]
    with pytest.raises(PathwayError, match="the fast grid is finer than the tower's 4x6"):
        parse("slowfast-slow_1frms_concat-fast_5x6").check(grid)


def test_patches_that_make_no_square_need_their_grid():
    with pytest.raises(PathwayError, match="24 patches are no square: give their grid"):
        video_tokens(torch.zeros(1, 24, 1), "concat")
