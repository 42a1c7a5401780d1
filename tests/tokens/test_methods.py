"""Indices, counts and pictures of TS-LLaVA and IG-VLM, against published numbers and loops."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sfllava_plugin.tokens.anyres import AnyRes
from sfllava_plugin.tokens.composing import cells, composed
from sfllava_plugin.tokens.geometry import Geometry, Grid
from sfllava_plugin.tokens.image_grid import ImageGrid
from sfllava_plugin.tokens.layout import parse, video_tokens
from sfllava_plugin.tokens.notation import PathwayError
from sfllava_plugin.tokens.thumbnail import Thumbnail
from tests.reference_methods import ig_vlm, ts_llava

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "methods.json").read_text())
GRID = Grid(rows=24, columns=24)
TS = Thumbnail(6, 2880)
IG = ImageGrid(3, 2)
MEAN, STD = torch.tensor([0.481, 0.458, 0.408]), torch.tensor([0.269, 0.261, 0.276])


def geometry(**changes) -> Geometry:
    clip = {"rows": 24, "columns": 24, "tower": "clip", "image_size": 336, "mean": (0, 0, 0), "std": (1, 1, 1)}
    return Geometry(**clip | {"feature_layer": -2, "class_token": True} | changes)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


# ---- TS-LLaVA --------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", [TS.thumbnail_frames, lambda frames: ts_llava.thumbnail_frames(frames, 6)])
def test_the_frames_of_the_thumbnail_are_the_published_ones(positions):
    assert positions(50) == VECTORS["ts_llava"]["thumbnail"]["50"]
    assert positions(6) == [0, 1, 2, 3, 4, 5]
    assert positions(4) == [0, 1, 2, 3, 3, 3]


@pytest.mark.parametrize("frames", VECTORS["ts_llava"]["sampled"])
@pytest.mark.parametrize(
    "positions",
    [lambda frames: TS.sampled_tokens(frames, GRID), lambda frames: ts_llava.linspace(frames * 576 - 1, 2880)],
    ids=["package", "reference"],
)
def test_the_sampled_tokens_are_the_published_ones(positions, frames):
    wanted, found = VECTORS["ts_llava"]["sampled"][frames], positions(int(frames))
    assert sum(found) == wanted["sum"] and len(set(found)) == len(found) == 2880
    if "first" in wanted:
        assert (found[:6], found[-3:]) == (wanted["first"], wanted["last"])
        assert [sum(token // 576 == frame for token in found) for frame in range(3)] == wanted["frames"]


def test_sampling_in_float64_would_differ():
    exact = torch.linspace(0, 50 * 576 - 1, 2880, dtype=torch.float64).round().long().tolist()
    assert sum(one != other for one, other in zip(exact, TS.sampled_tokens(50, GRID), strict=True)) == 1


def test_tokens_are_sampled_in_the_loops_order_for_any_length():
    for frames in range(1, 101):
        every = frames * 576
        wanted = ts_llava.linspace(every - 1, 2880) if every > 2880 else list(range(every))
        assert TS.sampled_tokens(frames, GRID) == wanted


def test_the_published_setting_has_its_count():
    assert parse("thumbnail_6+sampled_2880") == TS
    assert TS.count(50, GRID) == VECTORS["ts_llava"]["tokens"]
    assert [TS.count(frames, GRID) for frames in (1, 4, 5, 6)] == [576 + 576, 4 * 576 + 576, 3456, 3456]


@pytest.mark.parametrize("chunk", [1, 2, 3, 8])
@pytest.mark.parametrize("first", [False, True])
def test_chunks_may_end_anywhere(chunk, first):
    grid, layout = Grid(rows=2, columns=2), Thumbnail(6, 9, first)
    features = torch.arange(8 * 4.0).view(8, 4, 1)  # of 7 frames and the thumbnail
    found = layout.tokens(torch.split(features, chunk), 7, grid, lambda tokens: tokens, {})[:, 0].tolist()
    sampled, thumbnail = [float(token) for token in ts_llava.linspace(27, 9)], [28.0, 29.0, 30.0, 31.0]
    assert found == (thumbnail + sampled if first else sampled + thumbnail)


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 6, 8, 9, 12, 16])
def test_cells_are_as_near_to_a_square_as_they_divide(frames):
    assert cells(frames) == ts_llava.shape(frames)
    assert {4: (2, 2), 6: (3, 2), 8: (4, 2)}.get(frames, cells(frames)) == cells(frames)


@pytest.mark.parametrize("number", [4, 6, 8])
def test_a_picture_has_the_means_of_boxes(number):
    frames = noise(number, 48, 48, 3)
    found = composed(torch.from_numpy(frames), number)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[0].numpy(), ts_llava.picture(list(frames)), atol=1e-4)


def test_composing_and_normalising_commute():
    frames = torch.from_numpy(noise(6, 336, 336, 3))
    late = (composed(frames, 6) / 255 - MEAN) / STD
    early = composed((frames / 255 - MEAN) / STD, 6)
    assert (late - early).abs().max() < 1e-6
    rounded = (composed(frames, 6).round() / 255 - MEAN) / STD
    assert (rounded - early).abs().max() > 1e-3, "rounding would not show"


def test_composed_batches_are_not_rounded():
    frames = torch.from_numpy(noise(7, 24, 24, 3))
    shown, thumbnail = TS.compose(frames)
    assert shown is frames and thumbnail.dtype == torch.float32
    np.testing.assert_allclose(
        thumbnail[0].numpy(), ts_llava.picture(list(frames.numpy()[[0, 1, 2, 4, 5, 6]])), atol=1e-4
    )
    assert [tuple(batch.shape) for batch in parse("thumbnail_6").compose(frames)] == [(1, 24, 24, 3)]


def test_panels_take_frames_in_order_and_repeat_the_last():
    frames = torch.from_numpy(noise(6, 24, 24, 3))
    first, second = parse("grids_4").compose(frames)
    plain = list(frames.numpy())
    np.testing.assert_allclose(first[0].numpy(), ts_llava.picture(plain[:4]), atol=1e-4)
    np.testing.assert_allclose(second[0].numpy(), ts_llava.picture([plain[4], plain[5], plain[5], plain[5]]), atol=1e-4)


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        ("thumbnail_0+sampled_9", "frames of a thumbnail must be a whole number from 1 on, not 0"),
        ("thumbnail_6+sampled_0", "sampled tokens of a thumbnail must be a whole number from 1 on, not 0"),
        ("grids_0", "frames of a grid must be a whole number from 1 on, not 0"),
        ("image_grid_0x2", "an image grid has whole numbers of rows and columns from 1x1 on, not 0x2"),
        ("thumbnail_6_first", "unknown pathway 'thumbnail_6_first'"),
    ],
)
def test_values_that_do_not_exist_are_refused(notation, message):
    with pytest.raises(PathwayError, match=message):
        parse(notation)


@pytest.mark.parametrize("notation", ["thumbnail_10", "grids_10"])
def test_pictures_must_divide_into_their_frames(notation):
    message = f"{notation}: 336x336 pixels do not divide into 5x2 frames: use another number"
    with pytest.raises(PathwayError, match=message):
        parse(notation).check(geometry())
    parse(notation).check(geometry(image_size=340))


# ---- IG-VLM ----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", VECTORS["ig_vlm"], ids=lambda row: "{}x{}".format(*row["frame"]))
def test_a_frame_size_has_its_published_grid_and_count(row):
    (width, height), (rows, columns) = row["frame"], row["grid"]
    assert IG.count(6, GRID, (height, width)) == row["tokens"] == 576 + rows * (columns + 1)
    assert tuple(map(len, ig_vlm.kept(2 * width, 3 * height))) == (rows, columns)
    found = tokens_of((height, width))
    newlines = [place for place, token in enumerate(found) if token is None]
    assert newlines == [576 + (columns + 1) * row + columns for row in range(rows)]


def tokens_of(size: tuple[int, int]) -> list[tuple[int, int] | None]:
    """List a video's tokens as (square, patch), made of features that hold these numbers; None is a newline."""
    number = IG.pictures(6, GRID, size)
    squares = torch.arange(float(number)).view(-1, 1).expand(-1, 576)
    features = torch.stack([squares, torch.arange(576.0).expand(number, -1)], dim=-1)
    extra = {"image_newline": torch.full((2,), -1.0)}
    made = video_tokens(features, IG, grid=GRID, extra=extra, frames=6, size=size).long().tolist()
    return [None if square < 0 else (square, patch) for square, patch in made]


@pytest.mark.parametrize("size", [(720, 1280), (480, 640), (1280, 720), (300, 1000), (72, 128), (132, 352)], ids=str)
def test_tokens_stand_where_the_loops_put_them(size):
    assert tokens_of(size) == ig_vlm.order(2 * size[1], 3 * size[0])


def test_counts_are_those_of_the_loops_for_many_sizes():
    for height in range(20, 800, 53):
        for width in range(20, 1300, 41):
            rows, columns = ig_vlm.kept(2 * width, 3 * height)
            assert IG.count(6, GRID, (height, width)) == 576 + len(rows) * (len(columns) + 1), (height, width)
    assert IG.count(6, GRID, (240, 320)) == IG.count(1, GRID, (240, 320)) == IG.count(100, GRID, (240, 320))


def test_transformers_counts_otherwise_where_its_rounding_differs():
    canvases = tuple((height, width) for width, height in ig_vlm.CANVASES)
    rounded = AnyRes(canvases, 336, 24, limit=None, rounding="transformers")
    for height, width, alike in ((132, 352, False), (240, 320, True)):
        assert (IG.count(6, GRID, (height, width)) == rounded.count((3 * height, 2 * width))) == alike


@pytest.mark.parametrize("count", [1, 2, 6, 7, 50])
def test_the_picture_shows_frames_row_by_row(count):
    frames = noise(count, 9, 16, 3)
    shown = frames[ig_vlm.step(count)]
    np.testing.assert_array_equal(IG.picture(frames), np.asarray(ig_vlm.picture(shown)))


def test_each_cell_has_the_colour_of_its_frame():
    colours = [(40 * i, 255 - 40 * i, 7 * i) for i in range(6)]
    frames = np.stack([np.full((10, 20, 3), colour, np.uint8) for colour in colours])
    whole = IG.picture(frames)
    assert whole.shape == (30, 40, 3)
    for cell, colour in enumerate(colours):
        row, column = divmod(cell, 2)
        assert (whole[10 * row : 10 * row + 10, 20 * column : 20 * column + 20] == colour).all()


def test_an_image_grid_needs_a_square_grid_and_no_other_newlines():
    with pytest.raises(PathwayError, match="image_grid_3x2 needs a tower with a square patch grid, this one has 24x12"):
        IG.check(Grid(rows=24, columns=12))
    rows = IG.arranged(type(IG.arrangement)(newline="rows"))
    with pytest.raises(PathwayError, match="image_grid_3x2 has its own newlines, not newline 'rows'"):
        rows.check(GRID)
    IG.check(geometry())
