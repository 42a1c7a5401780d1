"""A LoRA adapter gives the answers of merged weights."""

import json
import shutil
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from examples.random_checkpoint import REAL_GRID
from sfllava_plugin.video.decode import decode
from tests import reference
from tests.engine.families import Case, frames_of
from tests.reference_family import models, sizes

RANK, ALPHA = 8, 16
LAYER = "language_model.model.layers.{}.self_attn.{}"
ONEVISION = Case("onevision", {})


class Text(NamedTuple):
    """The part of a language model that adapters are written for."""

    width: int
    layers: int
    heads: int
    kv_heads: int


TEXTS = {
    "sf-llava": Text(REAL_GRID.text_hidden, REAL_GRID.text_layers, REAL_GRID.text_heads, REAL_GRID.text_kv_heads),
    "onevision": Text(sizes.Text.hidden, sizes.Text.layers, sizes.Text.heads, sizes.Text.kv_heads),
}


@pytest.fixture
def adapter(tmp_path):
    """adapter(text): a folder in peft's format, and its weights: {projection: (A, B)}."""

    def write(text: Text):
        generator = torch.Generator().manual_seed(1)
        out = {"q_proj": text.width, "v_proj": text.width // text.heads * text.kv_heads}
        pairs = {
            LAYER.format(i, name): (
                torch.randn(RANK, text.width, generator=generator) * 0.3,
                torch.randn(size, RANK, generator=generator) * 0.3,
            )
            for i in range(text.layers)
            for name, size in out.items()
        }
        weights = {}
        for name, (a, b) in pairs.items():
            weights |= {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b}
        folder = tmp_path / "adapter"
        folder.mkdir()
        save_file(weights, folder / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": list(out), "bias": "none"}
        (folder / "adapter_config.json").write_text(json.dumps(config | {"task_type": "CAUSAL_LM"}))
        return folder, pairs

    return write


def merged(folder, pairs, out):
    """Copy a checkpoint, with the adapter added to its weights."""
    shutil.copytree(folder, out)
    weights = load_file(out / "model.safetensors")
    for name, (a, b) in pairs.items():
        weights[f"{name}.weight"] += ALPHA / RANK * b @ a
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return out


@pytest.mark.parametrize("layout", ["hf", "original", "onevision"])
def test_an_adapter_matches_merged_weights(
    layout, runners, checkpoints, family_runner, written, adapter, clips, tmp_path
):
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    lora = {"enable_lora": True, "max_lora_rank": RANK, "max_loras": 2}
    if layout == "onevision":
        folder, pairs = adapter(TEXTS["onevision"])
        base, runner = written(ONEVISION), family_runner(ONEVISION, **lora)
        frames = frames_of(runner, clips(12), 6)
        features, greedy = models.native_video_features(base, frames), models.greedy
    else:
        folder, pairs = adapter(TEXTS["sf-llava"])
        base, runner = checkpoints(), runners(layout=layout, **lora)
        frames = decode(clips(12), num_frames=50, image_size=336).frames
        notation = "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4"
        features, greedy = reference.video_features(base, frames, notation), reference.greedy
    changed = merged(base, pairs, tmp_path / "merged")
    prompt = "USER: <image>\nWhat is happening? ASSISTANT:"
    ids = reference.prompt_token_ids(runner.engine.get_tokenizer(), prompt)
    answers = []
    # The second request takes the second slot of the adapter tables.
    for request in (None, LoRARequest("adapter", 1, str(folder)), LoRARequest("again", 2, str(folder))):
        [output] = runner.engine.generate(
            {"prompt": prompt, "multi_modal_data": {"video": frames}},
            SamplingParams(temperature=0, max_tokens=8),
            use_tqdm=False,
            lora_request=request,
        )
        answers.append(list(output.outputs[0].token_ids))
    assert answers[1] == answers[2] == greedy(changed, ids, features, 8).token_ids
    assert answers[0] == greedy(base, ids, features, 8).token_ids
    assert answers[0] != answers[1]
