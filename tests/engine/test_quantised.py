"""Quantised checkpoints are served unchanged, whichever file describes the quantisation."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.registry import Entry
from tests.engine.support import KV_CACHE, model_of

GROUP = 32
LAYERS = re.compile(r"((language_model\.)?model\.layers\..*_proj)\.weight")
QUESTIONS = ("What is happening?", "Who is it?")
#: Two steps of bfloat16 at the magnitude of these logits, since kernels may sum in another order.
BFLOAT16 = 0.125
GPTQ = {"bits": 4, "group_size": GROUP, "desc_act": False, "sym": True}


def packed(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Pack eight 4-bit integers along ``dim`` into one, lowest bits first."""
    words = sum(part << 4 * i for i, part in enumerate(values.to(torch.int64).unflatten(dim, (-1, 8)).unbind(dim + 1)))
    return torch.where(words < 2**31, words, words - 2**32).to(torch.int32).contiguous()


def quantised(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Quantise an [out, in] weight; return GPTQ's tensors, and the dequantised weight."""
    groups = weight.T.unflatten(0, (-1, GROUP))
    scales = (groups.abs().amax(1) / 7).bfloat16()
    levels = (groups / scales.float()[:, None]).round().clamp(-8, 7) + 8
    stored = {
        "qweight": packed(levels.flatten(0, 1), 0),
        "qzeros": packed(torch.full(scales.shape, 7), 1),
        "scales": scales,
        "g_idx": torch.arange(weight.shape[1], dtype=torch.int32) // GROUP,
    }
    return stored, ((levels - 8) * scales.float()[:, None]).flatten(0, 1).T.contiguous()


@pytest.fixture(scope="module")
def twins(small_hf, small_original, tmp_path_factory):
    """Checkpoints: dequantised, and quantised with settings in either file."""
    folders = {name: tmp_path_factory.mktemp("twins") / name for name in ("dequantised", "file", "config")}
    for name, folder in folders.items():
        source = small_original if name == "config" else small_hf
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        weights = {}
        for key, weight in load_file(source / "model.safetensors").items():
            if not (match := LAYERS.fullmatch(key)):
                weights[key] = weight
            elif name == "dequantised":
                weights[key] = quantised(weight)[1]
            else:
                weights |= {f"{match[1]}.{part}": value for part, value in quantised(weight)[0].items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folders["file"] / "quantize_config.json").write_text(json.dumps(GPTQ), encoding="utf-8")
    config = json.loads((folders["config"] / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = GPTQ | {"quant_method": "gptq"}
    (folders["config"] / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folders


@pytest.fixture(scope="module")
def answers(twins, bikes):
    """answers(name, **engine arguments): answers, after a check of the layers."""
    from sfllava_plugin.engine.offline import Question, Runner

    def ask(name, **arguments):
        settings = {"dtype": "bfloat16", "enforce_eager": True, "kv_cache_memory_bytes": KV_CACHE}
        runner = Runner(str(twins[name]), settings | arguments)
        parameters = dict(model_of(runner).language_model.named_parameters())
        assert ("model.layers.1.mlp.down_proj.qweight" in parameters) == (name != "dequantised")
        return [runner.answer(Question(bikes, text, max_tokens=6, logprobs=5)) for text in QUESTIONS]

    return ask


def test_gptq_matches_the_dequantised_weights(answers):
    expected = answers("dequantised")
    for found in (answers("file", quantization="gptq"), answers("config")):
        assert [answer.token_ids for answer in found] == [answer.token_ids for answer in expected]
        for one, other in zip(found, expected, strict=True):
            tops = [{top["token_id"]: top["logprob"] for top in answer.logprobs} for answer in (one, other)]
            assert tops[0] == pytest.approx(tops[1], abs=BFLOAT16)


def test_vllm_finds_hf_quant_config(small_hf, tmp_path):
    """Older ModelOpt checkpoints have this file instead of a section in config.json."""
    from vllm.transformers_utils.config import get_config

    folder = Path(shutil.copytree(small_hf, tmp_path / "copy"))
    how = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    (folder / "hf_quant_config.json").write_text(json.dumps(how), encoding="utf-8")
    out = prepare(Entry(name="tested", checkpoint=str(folder)))
    assert get_config(str(out), trust_remote_code=False).quantization_config == how
