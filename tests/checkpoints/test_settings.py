"""Settings of an entry and of ``--hf-overrides``: the checkpoint's own, changed one by one, or refused in one line."""

import json
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from sfllava_plugin.checkpoints import video_config
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.checkpoints.settings import Native, settle
from sfllava_plugin.checkpoints.video_config import VideoConfig
from sfllava_plugin.registry import Entry
from sfllava_plugin.tokens.notation import PathwayError
from tests.reference_family import time_instruction

SLOW_FAST = "slowfast-slow_4frms_bilinear-fast_2x2"
#: A value of each setting that OneVision does not have by itself.
CHANGED = {
    "frames": 12,
    "pathways": SLOW_FAST,
    "newline": "frames",
    "order": "time",
    "pool": "before_projector",
    "sampling": "second",
    "fit": "pad",
    "time_instruction": True,
    "max_tiles": 4,
}


def directory(folder, **settings):
    return prepare(Entry(name="tested", checkpoint=str(folder), **settings))


def video_of(folder, **settings) -> dict:
    config = json.loads((directory(folder, **settings) / "config.json").read_text(encoding="utf-8"))
    return config["sfllava"]


@pytest.fixture
def overridden(checkpoint):
    """overridden(kind, **changes): read a model directory under ``--hf-overrides '{"sfllava": changes}'``."""

    def read(kind: str, /, **changes) -> VideoConfig:
        return VideoConfig.read(SimpleNamespace(sfllava=changes), directory(checkpoint(kind)))

    return read


@pytest.mark.parametrize("name", CHANGED)
def test_an_entry_changes_one_setting_and_keeps_the_others(checkpoint, name):
    own, changed = video_of(checkpoint("onevision")), video_of(checkpoint("onevision"), **{name: CHANGED[name]})
    assert own[name] != CHANGED[name]
    assert changed == own | {name: CHANGED[name]}


@pytest.mark.parametrize("name", CHANGED)
def test_an_override_changes_one_setting_and_keeps_the_others(checkpoint, overridden, name):
    found = overridden("onevision", **{name: CHANGED[name]}).model_dump(mode="json")
    assert found == json.loads(json.dumps(video_of(checkpoint("onevision")))) | {name: CHANGED[name]}


def test_false_and_zero_are_settings(checkpoint):
    folder = checkpoint("llava-video", image_size=384)
    assert video_of(folder)["time_instruction"] is True
    assert video_of(folder, time_instruction=False)["time_instruction"] is False
    assert video_of(folder, max_tiles=0)["max_tiles"] == 0
    assert video_of(folder, newline="none")["newline"] == "none"


def test_settle_takes_every_setting_of_the_family():
    native = Native(
        frames=3,
        pathways="bilinear",
        newline="rows",
        order="time",
        pool="before_projector",
        sampling="second",
        fit="pad",
        time_instruction=True,
        lora_alpha=5.0,
    )
    found = settle(Entry(name="a", checkpoint="b/c"), native, "F")
    assert {name: getattr(found, name) for name in Native.__dataclass_fields__ if name != "pathways"} == {
        name: getattr(native, name) for name in Native.__dataclass_fields__ if name != "pathways"
    }
    assert str(found.pathways) == str(found.native) == "bilinear"
    assert found.rope == "checkpoint"


@pytest.mark.parametrize(("kind", "family"), [("llava-next", "LLaVA-NeXT"), ("llava-1.5", "LLaVA-1.5")])
def test_a_family_trained_on_images_has_no_native_layout(checkpoint, overridden, kind, family):
    message = f"^tested: {family} was trained on images and has no native layout for videos: name the pathways$"
    with pytest.raises(CheckpointError, match=message):
        directory(checkpoint(kind), pathways="native")
    with pytest.raises(
        ValueError, match=r"^sfllava: this checkpoint has no native layout for videos: name the pathways$"
    ):
        overridden(kind, pathways="native")


def test_an_override_returns_to_the_native_layout(checkpoint):
    out = directory(checkpoint("onevision"), pathways=SLOW_FAST)
    found = VideoConfig.read(SimpleNamespace(sfllava={"pathways": "native"}), out)
    assert str(found.pathways) == "bilinear"


@pytest.mark.parametrize("newline", ["end", "frames", "rows"])
def test_a_newline_needs_its_weight(checkpoint, overridden, newline):
    message = f"newline '{newline}' needs the weight image_newline, and this checkpoint has none: use newline 'none'$"
    with pytest.raises(PathwayError, match=message):
        directory(checkpoint("llava-1.5"), newline=newline)
    with pytest.raises(PathwayError, match=message):
        overridden("llava-1.5", newline=newline)
    assert video_of(checkpoint("llava-next"), newline=newline)["newline"] == newline


@pytest.mark.parametrize("pool", ["spatial_1d_max_pool", "spatial_2d_avg_pool"])
def test_an_odd_grid_refuses_pools_of_two(checkpoint, overridden, pool):
    message = f"{pool} needs an even patch grid, this tower has 7x7"
    for pathways in (pool, f"slowfast-slow_4frms_{pool}-fast_2x2"):
        with pytest.raises(PathwayError, match=message):
            directory(checkpoint("onevision"), pathways=pathways)
        with pytest.raises(PathwayError, match=message):
            overridden("onevision", pathways=pathways)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 1024, "pathways": "concat"}, "1024 frames through concat take 50177 tokens, .* context is 32768"),
        ({"frames": 1024, "pathways": "concat", "newline": "rows"}, "take 57344 tokens"),
        ({"max_model_len": 513}, "32 frames through bilinear take 513 tokens, and the context is 513"),
    ],
)
def test_layouts_that_leave_no_room_for_a_question(checkpoint, settings, message):
    with pytest.raises(CheckpointError, match=message):
        directory(checkpoint("onevision"), **settings)


def test_the_time_instruction_takes_room_too(checkpoint):
    """13440 tokens of the video, and as many more as the tokenizer makes of the words about six hours."""
    folder = checkpoint("llava-video", image_size=384)
    sentence = time_instruction.text(21600, [21600] * 64, 64)
    words = len(AutoTokenizer.from_pretrained(folder).encode(f"\n{sentence}\n", add_special_tokens=False))
    assert 64 * 8 < words < 64 * 14
    taken = 13440 + words
    with pytest.raises(CheckpointError, match=f"13440 tokens, the time instruction up to {words} more, .* is {taken}:"):
        directory(folder, max_model_len=taken)
    assert directory(folder, max_model_len=taken + 1)
    assert directory(folder, max_model_len=13441, time_instruction=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"newline": "grid"}, "sfllava.newline: .*'none', 'end', 'frames' or 'rows'"),
        ({"newline": None}, "sfllava.newline: "),
        ({"order": "fast_first"}, "sfllava.order: .*'slow_first' or 'time'"),
        ({"pool": "projector"}, "sfllava.pool: .*'after_projector' or 'before_projector'"),
        ({"sampling": "random"}, "sfllava.sampling: .*'middles', 'linspace', 'second' or 'segments'"),
        ({"fit": "stretch"}, "sfllava.fit: .*'squash', 'crop', 'pad' or 'shrink_crop'"),
        ({"time_instruction": "yes"}, "sfllava.time_instruction: .*boolean"),
        ({"time_instruction": 1}, "sfllava.time_instruction: .*boolean"),
        ({"max_tiles": -1}, "sfllava.max_tiles: .*greater than or equal to 0"),
        ({"max_tiles": 2.5}, "sfllava.max_tiles: .*integer"),
        ({"pathways": "Native"}, "sfllava.pathways: unknown pathway 'Native': use slowfast-"),
        ({"pathways": {"slow": 1}}, "sfllava.pathways: unknown pathways .*: use slowfast-"),
        ({"frames": 0}, "sfllava.frames must be 1 to 1024, not 0"),
        ({"newlines": "rows"}, "sfllava.newlines: no such setting: use one of frames, pathways, newline, order, pool"),
        ({"prompt": "vicuna"}, "sfllava.prompt: no such setting: use one of .*max_tiles$"),
        ({"prompts": "vicuna"}, "sfllava.prompts: preparing the model needs it: set it in an entry of the registry$"),
        ({"lora_alpha": 4}, "sfllava.lora_alpha: preparing the model needs it: set it in an entry of the registry$"),
    ],
)
def test_a_wrong_override_is_named(overridden, changes, message):
    with pytest.raises(ValueError, match=message) as raised:
        overridden("onevision", **changes)
    assert "\n" not in str(raised.value)


def test_the_settings_of_an_entry_and_of_an_override_are_the_same():
    """Unknown settings are answered by this list. The others are settled when the model directory is written."""
    others = {"name", "checkpoint", "revision", "format", "lora_alpha", "prompts", "max_model_len", "aliases", "engine"}
    assert set(video_config._SETTINGS.split(", ")) == set(Entry.model_fields) - others
    assert set(CHANGED) == set(video_config._SETTINGS.split(", ")) - {"rope"}
