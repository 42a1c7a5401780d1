"""A LoRA adapter gives the answers of merged weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from examples.random_checkpoint import REAL_GRID
from sfllava_plugin.video.decode import decode
from tests import reference

RANK, ALPHA = 8, 16
LAYER = "language_model.model.layers.{}.self_attn.{}"


@pytest.fixture
def adapter(tmp_path):
    """A folder in peft's format, and its weights: {projection: (A, B)}."""
    generator = torch.Generator().manual_seed(1)
    width, heads = REAL_GRID.text_hidden, REAL_GRID.text_heads
    out = {"q_proj": width, "v_proj": width // heads * REAL_GRID.text_kv_heads}
    pairs = {
        LAYER.format(i, name): (
            torch.randn(RANK, width, generator=generator) * 0.3,
            torch.randn(size, RANK, generator=generator) * 0.3,
        )
        for i in range(REAL_GRID.text_layers)
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


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_an_adapter_matches_merged_weights(layout, runners, checkpoints, adapter, clips, tmp_path):
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    folder, pairs = adapter
    merged = tmp_path / "merged"
    shutil.copytree(checkpoints(), merged)
    weights = load_file(merged / "model.safetensors")
    for name, (a, b) in pairs.items():
        weights[f"{name}.weight"] += ALPHA / RANK * b @ a
    save_file(weights, merged / "model.safetensors", metadata={"format": "pt"})

    runner = runners(layout=layout, enable_lora=True, max_lora_rank=RANK, max_loras=2)
    frames = decode(clips(12), num_frames=50, image_size=336).frames
    prompt = "USER: <image>\nWhat is happening? ASSISTANT:"
    ids = reference.prompt_token_ids(runner.engine.get_tokenizer(), prompt)
    features = reference.video_features(merged, frames, "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4")
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
    assert answers[1] == answers[2] == reference.greedy(merged, ids, features, 8).token_ids
    assert answers[0] == reference.greedy(checkpoints(), ids, features, 8).token_ids
    assert answers[0] != answers[1]
