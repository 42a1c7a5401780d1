"""Every family is recognised from published configurations, and brings its geometry, settings and prompts."""

import json
import re
import shutil
from pathlib import Path

import pytest

from sfllava_plugin.checkpoints.families import FAMILIES, WEIGHT_NAMES, find
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.checkpoints.weights import tensors
from sfllava_plugin.prompts import FAMILIES as PROMPTS
from sfllava_plugin.registry import Entry, packaged
from tests.checkpoints.published import NEXT, PUBLISHED

CLIP_MEAN, HALF = [0.48145466, 0.4578275, 0.40821073], [0.5, 0.5, 0.5]
PAPER = "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4"
#: Every kind of files: (kind, how it is written).
WRITTEN = {
    "1.5": ("llava-1.5", {}),
    "1.5 by transformers 5": ("llava-1.5", {"names": "module"}),
    "next": ("llava-next", {}),
    "next by transformers 5": ("llava-next", {"names": "module"}),
    "next of Mistral": ("llava-next", {"family": "mistral"}),
    "next-video": ("next-video", {}),
    "next-video by transformers 5": ("next-video", {"names": "module"}),
    "next-video of Yi": ("next-video", {"family": "yi"}),
    "next-video-original": ("next-video-original", {}),
    "next-video-original of Yi": ("next-video-original", {"family": "yi"}),
    "onevision": ("onevision", {}),
    "onevision by transformers 5": ("onevision", {"names": "module"}),
    "onevision, tied": ("onevision", {"tied": True}),
    "onevision-original": ("onevision-original", {"image_size": 384}),
    "onevision-original, tied": ("onevision-original", {"image_size": 384, "tied": True}),
    "llava-video": ("llava-video", {"image_size": 384}),
    "llava-video of 72B": ("llava-video", {"image_size": 384, "faster_token": True}),
}


@pytest.fixture
def files(checkpoint):
    """files(name): the folder of one of `WRITTEN`."""
    return lambda name: checkpoint(WRITTEN[name][0], **WRITTEN[name][1])


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def prepared(folder: Path, **settings) -> tuple[dict, dict]:
    """Return config.json and the manifest of a model directory."""
    out = prepare(Entry(name="tested", checkpoint=str(folder), **settings))
    return read(out / "config.json"), read(out / "sfllava.json")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_configuration_is_recognised(tmp_path, name):
    family, form, config = PUBLISHED[name]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found, found_form = find(tmp_path)
    assert (found.name, found_form) == (family, form)
    other = {"hf": "original", "original": "hf"}[form]
    with pytest.raises(CheckpointError, match=f"format {other} was requested, but config.json is in format {form}"):
        find(tmp_path, other)


def test_every_family_is_among_them():
    assert {family for family, _, _ in PUBLISHED.values()} == {family.name for family in FAMILIES}


def test_every_example_is_a_checkpoint_of_its_family():
    """Messages name it: it must be published, and in the registry."""
    shipped = {entry.checkpoint for entry in packaged()}
    for family in FAMILIES:
        assert PUBLISHED[family.example][0] == family.name
        assert family.example in shipped


#: What belongs to each kind: rows and columns of patches, pixels, mean, layer, class token.
CLIP = (6, 84, CLIP_MEAN, -2, True)
GEOMETRY = {
    "1.5": CLIP,
    "next": CLIP,
    "next-video": CLIP,
    "next-video-original": CLIP,
    "onevision": (7, 98, HALF, -1, False),
    "onevision-original": (27, 384, HALF, -1, False),
    "llava-video": (27, 384, HALF, -1, False),
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_its_geometry(files, name):
    found = prepared(files(name))[0]["sfllava"]["geometry"]
    assert found["rows"] == found["columns"]
    keys = ("rows", "image_size", "mean", "feature_layer", "class_token")
    assert tuple(found[key] for key in keys) == GEOMETRY[name]
    assert found["tower"] == ("clip" if GEOMETRY[name] == CLIP else "siglip")


#: frames, pathways, newline, pool, sampling, fit, time_instruction, the context.
ONEVISION = (32, "bilinear", "end", "after_projector", "linspace", "squash", False, 32768)
NEXT_VIDEO = (32, "average", "none", "before_projector", "linspace", "crop", False, 8192)
SETTINGS = {
    "1.5": (50, PAPER, "none", "after_projector", "middles", "crop", False, 4096),
    "next": (50, PAPER, "none", "after_projector", "middles", "squash", False, 4096),
    "next of Mistral": (50, PAPER, "none", "after_projector", "middles", "squash", False, 32768),
    "next-video": NEXT_VIDEO,
    "next-video of Yi": NEXT_VIDEO,
    "next-video-original": NEXT_VIDEO,
    "next-video-original of Yi": NEXT_VIDEO,
    "onevision": ONEVISION,
    "onevision-original": ONEVISION,
    "llava-video": (64, "bilinear", "rows", "after_projector", "linspace", "squash", True, 32768),
}
SETTING_NAMES = ("frames", "pathways", "newline", "pool", "sampling", "fit", "time_instruction")


@pytest.mark.parametrize("name", SETTINGS)
def test_its_settings(files, name):
    config, manifest = prepared(files(name))
    found = tuple(config["sfllava"][key] for key in SETTING_NAMES)
    assert (*found, manifest["engine"]["max_model_len"]) == SETTINGS[name]
    assert config["sfllava"]["order"] == "slow_first"
    native = config["sfllava"]["native"]
    assert native == (None if SETTINGS[name][1] == PAPER else SETTINGS[name][1])


@pytest.mark.parametrize("name", [name for name, settings in SETTINGS.items() if settings[1] != PAPER])
def test_native_pathways_are_those_of_an_entry_without_any(files, name):
    assert prepared(files(name), pathways="native")[0]["sfllava"] == prepared(files(name))[0]["sfllava"]


PROMPTS_OF = {
    "1.5": "vicuna",
    "next": "vicuna",
    "next of Mistral": "mistral",
    "next-video": "vicuna_v1",
    "next-video of Yi": "chatml",
    "next-video-original": "vicuna_v1",
    "next-video-original of Yi": "chatml",
    "onevision": "qwen_1_5",
    "onevision-original": "qwen_1_5",
    "llava-video": "qwen_1_5",
}


@pytest.mark.parametrize("name", PROMPTS_OF)
def test_its_prompts(files, name):
    assert prepared(files(name))[1]["prompts"] == PROMPTS_OF[name]
    assert PROMPTS_OF[name] in PROMPTS


#: Canvases of pictures, the most tiles of one before it is shrunk, its rounding, and several pictures in one prompt.
ANYRES = {
    "1.5": (0, None, "transformers", "tiles"),
    "next": (5, None, "transformers", "tiles"),
    "next-video": (5, None, "transformers", "tiles"),
    "next-video-original": (5, None, "program", "tiles"),
    "onevision": (36, 9, "transformers", "square"),
    "onevision-original": (36, 9, "program", "square"),
    "llava-video": (36, 9, "program", "square"),
}


@pytest.mark.parametrize("name", ANYRES)
def test_its_pictures(files, name):
    found = prepared(files(name))[0]["sfllava"]["pictures"]
    assert (len(found["canvases"]), found["limit"], found["rounding"], found["several"]) == ANYRES[name]


@pytest.mark.parametrize(
    ("name", "step"),
    [("next", 1), ("onevision", 1), ("next-video-original", -1), ("onevision-original", -1), ("llava-video", -1)],
)
def test_canvases_are_heights_and_widths(files, name, step):
    """The original format lists (width, height). The sets are symmetric: only the order of equals would tell."""
    listed = read(files(name) / "config.json")["image_grid_pinpoints"]
    assert prepared(files(name))[0]["sfllava"]["pictures"]["canvases"] == [size[::step] for size in listed]


@pytest.mark.parametrize("name", WRITTEN)
def test_every_weight_has_a_name_in_vllm(files, name):
    """The names that the modules have, and each once."""
    extra, named = set(), []
    for stored, _ in tensors(files(name)):
        for pattern, new in WEIGHT_NAMES.items():
            stored = re.sub(pattern, new, stored)
        (extra.add if stored.rpartition(".")[2] in ("image_newline", "faster_token") else named.append)(stored)
    tower = r"vision_tower\.vision_model\.(embeddings|pre_layrnorm|post_layernorm|encoder\.layers\.\d+)\."
    projector = r"multi_modal_projector\.linear_[12]\.(weight|bias)$"
    language = r"language_model\.(model\.(embed_tokens|norm|layers\.\d+\.\w+)|lm_head)\."
    parts = [[one for one in named if re.match(part, one)] for part in (tower, projector, language)]
    assert sum(map(len, parts)) == len(named)
    assert len(named) == len(set(named))
    assert len(parts[1]) == 4 and parts[0] and parts[2]
    assert {one.rpartition(".")[2] for one in extra} == set(prepared(files(name))[0]["sfllava"]["weights"])


def test_the_weights_beside_the_parts_are_listed(files):
    found = {name: prepared(files(name))[0]["sfllava"]["weights"] for name in WRITTEN}
    assert found["1.5"] == found["1.5 by transformers 5"] == []
    assert found["llava-video of 72B"] == ["image_newline", "faster_token"]
    others = set(WRITTEN) - {"1.5", "1.5 by transformers 5", "llava-video of 72B"}
    assert all(found[name] == ["image_newline"] for name in others)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_head_that_is_in_no_file_is_the_embedding(files, name):
    """vLLM would leave an untied head at random values without a word."""
    config = prepared(files(name))[0]
    tied = name.endswith("tied")
    assert config["text_config"].get("tie_word_embeddings", False) == tied
    assert any(one.endswith("lm_head.weight") for one, _ in tensors(files(name))) != tied


@pytest.mark.parametrize("name", ["onevision, tied", "onevision-original, tied"])
def test_the_files_decide_on_the_head_where_the_configuration_is_silent(files, tmp_path, name):
    folder = Path(shutil.copytree(files(name), tmp_path / "copy"))
    config = read(folder / "config.json")
    for part in (config, config.get("text_config", {})):
        part.pop("tie_word_embeddings", None)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert prepared(folder)[0]["text_config"]["tie_word_embeddings"]


@pytest.mark.parametrize("field", ["mm_resampler_type", "mm_spatial_pool_mode", "mm_spatial_pool_out_channels"])
def test_null_is_no_field_of_next_video(tmp_path, field):
    (tmp_path / "config.json").write_text(json.dumps(NEXT | {field: None}), encoding="utf-8")
    assert find(tmp_path)[0].name == "LLaVA-NeXT"
