"""The files of the small checkpoints."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from tests.reference_family import checkpoints, models, sizes

PROMPT = [5, 6, None, 7, 8]


@pytest.mark.parametrize("kind", sizes.KINDS)
def test_tokenizers_know_their_marks(checkpoint, kind):
    folder = checkpoint(kind)
    tokenizer, config = AutoTokenizer.from_pretrained(folder), models.read_json(folder, "config.json")
    text = config.get("text_config", config)
    assert len(tokenizer) <= text["vocab_size"]
    for mark in ("image", "video"):
        if f"{mark}_token_index" in config:
            assert tokenizer(f"<{mark}>", add_special_tokens=False).input_ids == [config[f"{mark}_token_index"]]
    assert ("<image>" in tokenizer.get_vocab()) == (kind not in sizes.ORIGINAL)


def test_llava_hf_ids(checkpoint):
    config = models.read_json(checkpoint("llava-1.5"), "config.json")
    assert (config["image_token_index"], config["text_config"]["vocab_size"]) == (32000, 32064)
    config = models.read_json(checkpoint("next-video"), "config.json")
    assert (config["video_token_index"], config["image_token_index"]) == (32000, 32001)


def test_names_in_the_files(checkpoint):
    names = {
        kind: set(load_file(checkpoint(kind) / "model.safetensors"))
        for kind in ("llava-1.5", "onevision", "llava-video")
    }
    assert "image_newline" not in names["llava-1.5"]
    assert {
        "image_newline",
        "language_model.lm_head.weight",
        "language_model.model.norm.weight",
        "multi_modal_projector.linear_2.bias",
        "vision_tower.vision_model.post_layernorm.bias",
    } <= names["onevision"]
    assert {
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.image_newline",
        "model.mm_projector.2.bias",
        "model.vision_tower.vision_tower.vision_model.post_layernorm.bias",
    } <= names["llava-video"]


@pytest.mark.parametrize("kind", ["onevision", "onevision-original"])
def test_a_tied_head_is_in_no_file(checkpoint, video, kind):
    folder = checkpoint(kind, tied=True)
    assert not any("lm_head" in name for name in models.weights(folder))
    model = models.load(folder)
    assert torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)
    features = models.native_video_features(folder, video(2, 98))
    twin = checkpoint("onevision", tied=True)
    expected = models.logits(twin, models.embed(twin, PROMPT, features))
    assert torch.equal(models.logits(folder, models.embed(folder, PROMPT, features)), expected)


def test_half_precision_is_rounded_float32(checkpoint):
    whole, half = (models.weights(checkpoint("onevision", dtype=d)) for d in (torch.float32, torch.bfloat16))
    assert (
        load_file(checkpoint("onevision", dtype=torch.bfloat16) / "model.safetensors")["image_newline"].dtype
        == torch.bfloat16
    )
    for name, weight in whole.items():
        assert torch.equal(half[name], weight.bfloat16().float())


def test_linear_rope_of_later_revisions_changes_the_answer(tmp_path, checkpoint, video):
    scaling = {"text_config": {"rope_scaling": {"factor": 2.5, "type": "linear"}}}
    scaled = checkpoints.write(tmp_path / "scaled", "next-video", image_size=84, changes=scaling)
    plain = checkpoint("next-video")
    features = models.native_video_features(plain, video(3, 84))
    first, second = (models.greedy(folder, PROMPT, features, 1).first_logprobs for folder in (plain, scaled))
    assert (first - second).abs().max() > 0.01


def test_yi_has_its_own_ids(checkpoint, video):
    folder = checkpoint("next-video", family="yi")
    config = models.read_json(folder, "config.json")
    assert (config["video_token_index"], config["text_config"]["rope_theta"]) == (32002, 5e6)
    assert models.native_video_features(folder, video(2, 84)).shape == (18, 128)
