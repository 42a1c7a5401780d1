"""Unsupported checkpoints are refused; the error names what was found and what is needed."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from examples.random_checkpoint import SMALL, write_checkpoint
from sfllava_plugin.checkpoints.formats import CheckpointError
from sfllava_plugin.checkpoints.prepare import entry_of, model_directory, prepare
from sfllava_plugin.prompts import PromptError
from sfllava_plugin.registry import Entry, RegistryError
from sfllava_plugin.tokens.notation import PathwayError


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint in each format, for tests that only read."""
    return {
        layout: write_checkpoint(tmp_path_factory.mktemp(layout), layout=layout, family=family, geometry=SMALL)
        for layout, family in (("hf", "qwen"), ("original", "vicuna"))
    }


@pytest.fixture
def refused(written, tmp_path):
    """refused(layout, change, message): check that a copy, changed by change(folder), is refused with this message."""

    def check(layout: str, change, message: str, /, **settings) -> None:
        folder = Path(shutil.copytree(written[layout], tmp_path / "copy"))
        change(folder)
        with pytest.raises(CheckpointError, match=message) as raised:
            prepare(Entry(name="tested", checkpoint=str(folder), **settings))
        assert "copy" in str(raised.value) or "tested" in str(raised.value)
        assert "\n" not in str(raised.value)

    return check


def config(**changes):
    """Return a function that sets keys of config.json: ``a__b`` is key b of section a, and None removes a key."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        root = json.loads(path.read_text(encoding="utf-8"))
        for key, value in changes.items():
            section, _, last = key.rpartition("__")
            target = root[section] if section else root
            target.pop(last) if value is None else target.update({last: value})
        path.write_text(json.dumps(root), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
            r"not a checkpoint of the LLaVA family: config\.json says LlamaForCausalLM \(model_type 'llama'\)",
        ),
        ({"architectures": None, "model_type": "llava"}, "not a checkpoint of the LLaVA family: .* no architecture"),
        (
            {"vision_config": {"model_type": "siglip_vision_model"}},
            "tower is siglip_vision_model, .* clip_vision_model",
        ),
        ({"vision_feature_layer": -1}, "vision_feature_layer is -1, LLaVA-NeXT needs -2"),
        ({"vision_feature_layer": [-2, -5]}, r"vision_feature_layer is \[-2, -5\]"),
        ({"vision_feature_select_strategy": "full"}, "vision_feature_select_strategy is 'full'.* 'default'"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act is 'relu'.* 'gelu'"),
        ({"image_token_index": 7}, "image_token_index is 7, LLaVA-NeXT needs 2003"),
        ({"text_config__model_type": "unheard-of"}, "config.json describes no model .*unheard-of"),
        ({"text_config__hidden_size": "wide"}, "config.json describes no model .*hidden_size"),
        ({"vision_config__patch_size": 0}, "config.json describes no tower"),
        ({"vision_config": [1]}, "config.json describes no model .*vision_config"),
        ({"decoder": {"model_type": "llama"}}, "config.json describes no model .*Multiple valid text configs"),
        ({"text_config__max_position_embeddings": 512}, "take 980 tokens, and the context is 512"),
    ],
)
def test_hf_configurations(refused, changes, message):
    refused("hf", config(**changes), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mm_vision_select_layer": -1},
            "mm_vision_select_layer is -1, LLaVA-NeXT has -2; use a checkpoint such as llava-hf/llava-v1.6-",
        ),
        ({"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature is 'cls_patch'.* 'patch'"),
        ({"mm_projector_type": "linear"}, "mm_projector_type is 'linear'.* 'mlp2x_gelu'"),
        ({"mm_projector_type": None}, "mm_projector_type is None.* 'mlp2x_gelu'"),
        ({"mm_resampler_type": "perceiver"}, "mm_resampler_type is 'perceiver', LLaVA-NeXT has None"),
        ({"mm_patch_merge_type": None}, "mm_patch_merge_type is None.* 'spatial_unpad'"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is True, LLaVA-NeXT has False"),
        ({"mm_vision_tower": None}, "mm_vision_tower is None, LLaVA-NeXT has clip-vit-large-patch14-336"),
        ({"mm_vision_tower": "openai/clip-vit-large-patch14"}, "mm_vision_tower is 'openai/clip-vit-large-patch14',"),
        ({"mm_newer_trick": 3}, "mm_newer_trick is 3, LLaVA-NeXT has no such field"),
        ({"s2": True}, "s2 is True, LLaVA-NeXT has False"),
        ({"architectures": ["LlavaMptForCausalLM"]}, "says LlavaMptForCausalLM"),
        ({"hidden_size": "wide"}, "config.json describes no model .*hidden_size"),
    ],
)
def test_original_configurations(refused, changes, message):
    refused("original", config(**changes), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"architectures": ["LlavaNextFor', r"config\.json: not JSON"),
        ("", r"config\.json: not JSON"),
        ("[1]", r"config\.json: not a JSON object"),
    ],
)
def test_a_corrupt_configuration(refused, text, message):
    refused("hf", lambda folder: (folder / "config.json").write_text(text), message)


@pytest.mark.parametrize(
    ("layout", "name", "message"),
    [
        ("hf", "config.json", r"no readable config\.json"),
        ("hf", "model.safetensors", r"no \*\.safetensors in it; convert the weights to safetensors first"),
        ("original", "model.safetensors", r"no \*\.safetensors in it; convert the weights to safetensors first"),
        ("original", "tokenizer.model", "no tokenizer that transformers can read"),
    ],
)
def test_a_missing_file(refused, layout, name, message):
    refused(layout, lambda folder: (folder / name).unlink(), message)


def test_weights_in_other_formats_are_not_opened(refused):
    def pickled(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    refused("hf", pickled, r"no \*\.safetensors")


def test_an_original_checkpoint_without_its_tuned_tower(refused):
    def strip(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        kept = {name: weight for name, weight in weights.items() if "vision_tower" not in name}
        assert 0 < len(kept) < len(weights)
        save_file(kept, folder / "model.safetensors")

    refused(
        "original",
        strip,
        r"no tuned tower in the weights \(model\.vision_tower\..*\); the stock clip-vit-.* would not fit",
    )


@pytest.mark.parametrize(("asked", "found"), [("hf", "original"), ("original", "hf")])
def test_the_wrong_format(refused, asked, found):
    message = f"format {asked} was requested, but config.json is in format {found}"
    refused(found, lambda folder: None, message, format=asked)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # A grid of 6x6: 10 * 18 slow tokens, and 16 for every frame.
        ({"frames": 1024, "max_model_len": 4096}, "1024 frames through slowfast-.* take 16564 tokens, .* is 4096"),
        ({"max_model_len": 980}, "take 980 tokens, and the context is 980: use fewer frames"),
        ({"pathways": "concat", "frames": 1000}, "1000 frames through concat take 36000 tokens, .* is 32768"),
    ],
)
def test_pathways_that_leave_no_room_for_a_question(refused, settings, message):
    refused("hf", lambda folder: None, message, **settings)


def test_pathways_that_leave_room_for_one_token_are_accepted(written):
    out = prepare(Entry(name="tested", checkpoint=str(written["hf"]), max_model_len=981))
    assert (out / "sfllava.json").is_file()


def test_a_fast_grid_finer_than_the_tower(written):
    entry = Entry(name="tested", checkpoint=str(written["hf"]), pathways="slowfast-slow_1frms_concat-fast_7x1")
    with pytest.raises(PathwayError, match="fast_7x1: the fast grid is finer than the tower's 6x6"):
        prepare(entry)


def test_a_family_whose_chat_template_is_missing(tmp_path):
    folder = write_checkpoint(tmp_path / "mistral", family="mistral", layout="original", geometry=SMALL)
    with pytest.raises(PromptError, match="prompts 'mistral' go inside the checkpoint's own chat template"):
        prepare(Entry(name="tested", checkpoint=str(folder)))


def test_a_model_directory_is_not_a_checkpoint(written, tmp_path):
    out = prepare(Entry(name="tested", checkpoint=str(written["hf"])), tmp_path / "out")
    with pytest.raises(CheckpointError, match="out: is a model directory already"):
        prepare(entry_of(str(out)))


@pytest.mark.parametrize("model", ["nobody/no-such-llava", "not/a/repository", "./no-such-folder"])
def test_a_checkpoint_neither_on_disk_nor_on_the_hub(model):
    message = f"checkpoint '{model}' is not a local folder, .* the network and HF_TOKEN"
    with pytest.raises(CheckpointError, match=message):
        prepare(entry_of(model))


def test_an_unknown_bare_name():
    with pytest.raises(RegistryError, match=r"unknown model 'sf-lava': use one of sf-llava"):
        model_directory("sf-lava")
