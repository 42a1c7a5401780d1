"""The key ``sfllava`` of config.json: written, read, and refused if invalid."""

import json
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from sfllava_plugin.checkpoints.video_config import VideoConfig
from sfllava_plugin.tokens.geometry import Geometry
from sfllava_plugin.tokens.notation import PathwayError

GEOMETRY = Geometry(
    tower="clip",
    rows=24,
    columns=24,
    image_size=336,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.1, 0.6),
    feature_layer=-2,
    class_token=True,
)
PAPER = VideoConfig(
    frames=50,
    pathways="slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4",
    geometry=GEOMETRY,
    trained_vocab_size=32000,
)


def reads(**changes) -> VideoConfig:
    return VideoConfig.read(SimpleNamespace(sfllava=PAPER.model_dump(mode="json") | changes), "nowhere")


def test_reading_returns_what_was_written():
    assert reads() == PAPER
    assert PAPER.tokens(50) == 3680
    assert PAPER.picture_tokens((720, 1280), several=False) == 576


def test_an_image_grid_counts_by_the_size_of_the_frames():
    grid = reads(pathways="image_grid_3x2", fit="native", sampling="step", frames=6, weights=["image_newline"])
    assert grid.tokens(6, (720, 1280)) == 2536
    assert grid.tokens(6) == grid.tokens(6, grid.largest_frame) == 2928
    assert (grid.frame_fit.kind, grid.picture_fit.kind) == ("native", "squash")
    assert grid.extra_weights == ("image_newline",)
    assert PAPER.largest_frame == (336, 336) and PAPER.picture_fit == PAPER.frame_fit


def test_it_is_immutable():
    with pytest.raises(ValidationError):
        PAPER.frames = 7
    with pytest.raises(ValidationError):
        GEOMETRY.rows = 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "config.json has no 'sfllava' of version 1: prepare the model again"),
        ({"frames": 0}, "sfllava.frames must be 1 to 1024, not 0"),
        ({"frames": "50"}, "sfllava.frames: Input should be a valid integer"),
        ({"pathways": "medium_pool"}, "sfllava.pathways: unknown pathway 'medium_pool': use slowfast"),
        ({"pathways": "slowfast-slow_1frms_concat-fast_25x1"}, "the fast grid is finer than the tower's 24x24"),
        ({"fit": "native"}, "slowfast-.*-fast_4x4 does not take frames with fit 'native': use another fit"),
        ({"pathways": "image_grid_3x2"}, "image_grid_3x2 does not take frames with fit 'squash': use fit 'native'"),
        (
            {"pathways": "image_grid_3x2", "fit": "native"},
            "image_grid_3x2 needs the weight image_newline, and this checkpoint has none: use other pathways",
        ),
        (
            {"pathways": "thumbnail_10"},
            "thumbnail_10: 336x336 pixels do not divide into 5x2 frames: use another number",
        ),
        ({"slow": 3}, "sfllava.slow: no such setting: use one of frames, pathways, newline"),
        ({"geometry": GEOMETRY.model_dump() | {"rows": 0}}, "sfllava.geometry.rows: Input should be greater than"),
        ({"geometry": GEOMETRY.model_dump() | {"tower": "dinov3"}}, "sfllava.geometry.tower: Input should be 'clip'"),
    ],
)
def test_invalid_values_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        reads(**changes)


def test_a_config_of_another_model_is_refused():
    with pytest.raises(ValueError, match=r"config\.json has no 'sfllava'"):
        VideoConfig.read(SimpleNamespace(), "nowhere")


def test_an_override_of_one_field_keeps_the_others(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"sfllava": PAPER.model_dump(mode="json")}))
    found = VideoConfig.read(SimpleNamespace(sfllava={"frames": 7}), tmp_path)
    assert found == PAPER.model_copy(update={"frames": 7})


INTERLEAVED = {"pathways": "interleaved_3", "newline": "rows", "order": "time"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            INTERLEAVED | {"weights": ["image_newline"]},
            "interleaved_3_bilinear needs the weight faster_token, and this checkpoint has none: use other pathways",
        ),
        (
            INTERLEAVED | {"weights": ["faster_token"]},
            "interleaved_3_bilinear with newline 'rows' needs the weight image_newline, and this checkpoint has none: "
            "use newline 'none'",
        ),
        (INTERLEAVED | {"order": "slow_first"}, "interleaved_3_bilinear is in time order, not order 'slow_first'"),
        (INTERLEAVED | {"pool": "before_projector"}, "interleaved_3_bilinear pools after the projector"),
    ],
)
def test_what_interleaved_frames_need_is_named(changes, message):
    with pytest.raises(PathwayError) as raised:
        reads(**changes)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_with_a_faster_token_may_interleave():
    assert reads(**INTERLEAVED, weights=["image_newline", "faster_token"]).extra_weights == (
        "image_newline",
        "faster_token",
    )
