"""The positions of a language model: scaled by the files, by a family's program, by an entry, or not at all."""

import json

import pytest
from transformers import LlamaConfig

from sfllava_plugin.checkpoints import rope
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.registry import Entry
from tests.checkpoints.published import SPATIAL_POOL
from tests.reference_family import checkpoints, configs, sizes

#: LLaVA-NeXT-Video 7B and DPO on the hub.
LATER = {"text_config": {"rope_scaling": {"factor": 2.5, "type": "linear"}}}
#: The first revision of 7B: keys beside those that transformers reads.
FIRST = {"text_config": {"factor": 8.0, "type": "linear"}}


def prepared(folder, **settings) -> tuple[dict, int, int]:
    """Return the scaling, the positions and the context of a model directory."""
    out = prepare(Entry(name="tested", checkpoint=str(folder), **settings))
    config, manifest = (json.loads((out / name).read_text()) for name in ("config.json", "sfllava.json"))
    text = config["text_config"]
    parameters = text["rope_parameters"]
    scaling = {key: parameters[key] for key in ("rope_type", "factor") if key in parameters}
    return scaling, rope.positions(text), manifest["engine"]["max_model_len"]


@pytest.fixture
def original_next_video(tmp_path, monkeypatch):
    """original_next_video(family): NeXT-Video in the lmms-lab format, which the reference does not write."""
    monkeypatch.setattr(sizes, "ORIGINAL", (*sizes.ORIGINAL, "next-video"))
    own = configs._original

    def described(kind, tower, text, dtype):
        architecture = "LlavaLlamaForCausalLM" if text["rope_theta"] != 1e6 else "LlavaMistralForCausalLM"
        clip = {"architectures": [architecture], "mm_vision_tower": "openai/clip-vit-large-patch14-336"}
        return own(kind, tower, text, dtype) | clip | SPATIAL_POOL | {"image_aspect_ratio": "anyres"}

    monkeypatch.setattr(configs, "_original", described)
    monkeypatch.setattr(configs, "ORIGINAL", sizes.ORIGINAL)
    return lambda family: checkpoints.write(tmp_path / family, "next-video", image_size=84, family=family)


PLAIN = {"rope_type": "default"}


def linear(factor: float) -> dict:
    return {"rope_type": "linear", "factor": factor}


def test_next_video_as_its_files_say(tmp_path, checkpoint):
    later = checkpoints.write(tmp_path / "later", "next-video", image_size=84, changes=LATER)
    assert prepared(later) == (linear(2.5), 10240, 10240)
    first = checkpoints.write(tmp_path / "first", "next-video", image_size=84, changes=FIRST)
    # Nothing scales these two, and 4608 tokens go past the 4096 positions, as in transformers.
    assert prepared(first) == prepared(checkpoint("next-video")) == (PLAIN, 8192, 8192)
    assert prepared(checkpoint("next-video", family="yi")) == (PLAIN, 8192, 8192)


@pytest.mark.parametrize(
    ("family", "expected"),
    [("vicuna", (linear(2.0), 8192, 8192)), ("yi", (PLAIN, 8192, 8192)), ("mistral", (PLAIN, 32768, 32768))],
)
def test_the_program_of_next_video_scales_vicuna_alone(original_next_video, family, expected):
    assert prepared(original_next_video(family)) == expected


def test_an_entry_scales_and_its_context_follows(tmp_path, checkpoint):
    next_image = {"rope": "linear-2", "pathways": "average", "frames": 32}
    assert prepared(checkpoint("llava-next"), **next_image, max_model_len=8192) == (linear(2.0), 8192, 8192)
    assert prepared(checkpoint("llava-next"), **next_image) == (linear(2.0), 8192, 8192)
    assert prepared(checkpoint("llava-next"), rope="checkpoint", max_model_len=8192) == (PLAIN, 4096, 4096)
    later = checkpoints.write(tmp_path / "later", "next-video", image_size=84, changes=LATER)
    assert prepared(later, rope="linear-2") == (linear(2.0), 8192, 8192)
    assert prepared(later, rope="linear-2", max_model_len=5000)[2] == 5000


@pytest.mark.parametrize("family", ["vicuna", "yi"])
def test_a_factor_scales_the_positions_of_the_files(checkpoint, family):
    """Unscaled, LLaVA-NeXT-Video reads 8192 positions where its files say 4096; those are not doubled again."""
    assert prepared(checkpoint("next-video", family=family), rope="linear-2") == (linear(2.0), 8192, 8192)
    assert prepared(checkpoint("next-video", family=family), rope="linear-1.5") == (linear(1.5), 6144, 6144)


def test_an_entry_reads_past_the_trained_positions_unscaled(tmp_path, checkpoint):
    yi = checkpoint("llava-next", family="yi")
    next_image = {"pathways": "average", "frames": 32, "max_model_len": 8192}
    assert prepared(yi, **next_image, rope="unscaled-8192") == (PLAIN, 8192, 8192)
    later = checkpoints.write(tmp_path / "later", "next-video", image_size=84, changes=LATER)
    with pytest.raises(CheckpointError, match="rope 'unscaled-8192' cannot replace the checkpoint's 'linear' scaling"):
        prepare(Entry(name="tested", checkpoint=str(later), rope="unscaled-8192"))


def test_the_base_of_the_positions_stays(checkpoint):
    out = prepare(Entry(name="tested", checkpoint=str(checkpoint("onevision")), rope="linear-1.5"))
    text = json.loads((out / "config.json").read_text())["text_config"]
    assert text["rope_parameters"] == {"rope_theta": 1e6, "rope_type": "linear", "factor": 1.5}
    assert text["max_position_embeddings"] == 32768


@pytest.mark.parametrize("kind", ["yarn", "llama3"])
def test_no_scaling_goes_over_another(tmp_path, kind):
    own = {"yarn": {}, "llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0}}[kind]
    scaling = {"rope_type": kind, "factor": 4.0, "original_max_position_embeddings": 4096} | own
    folder = checkpoints.write(
        tmp_path / "scaled", "llava-next", image_size=84, changes={"text_config": {"rope_scaling": scaling}}
    )
    message = f"rope 'linear-2' cannot replace the checkpoint's '{kind}' scaling: use rope checkpoint$"
    with pytest.raises(CheckpointError, match=message):
        prepare(Entry(name="tested", checkpoint=str(folder), rope="linear-2"))
    assert prepared(folder)[0]["rope_type"] == kind


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"rope_type": "default", "rope_theta": 5e6}, {"rope_type": "linear", "rope_theta": 5e6, "factor": 2.5}),
        ({"rope_theta": 1e4}, {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.5}),
        ({"rope_type": "linear", "factor": 8.0}, {"rope_type": "linear", "factor": 2.5}),
    ],
)
def test_scaled(parameters, expected):
    before = dict(parameters)
    assert rope.scaled(parameters, "linear-2.5") == expected
    assert rope.scaled(parameters, "checkpoint") == parameters == before


def test_positions():
    plain = rope.fields(LlamaConfig(max_position_embeddings=100))
    assert rope.positions(plain) == rope.context(None, plain) == 100
    longer = rope.fields(LlamaConfig(max_position_embeddings=100, rope_parameters=linear(2.5)))
    assert rope.positions(longer) == rope.context(None, longer) == rope.context(999, longer) == 250
    assert rope.context(99, longer) == 99
