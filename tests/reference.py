"""A second implementation of SlowFast-LLaVA: plain, slow, and independent of the package.

Written from the specification alone, with transformers' CLIP and language models in float32 and eager attention.
Checkpoints are folders in the llava-hf format.
"""

import json
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import gelu, linear
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

TOWER_BATCH = 16
_TEXT = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
}


# ---- frames ------------------------------------------------------------------------------------


def frame_indices(total: int, n: int) -> list[int]:
    """Indices of the sampled frames among `total`: middles of equal segments."""
    count = min(total, n)
    segment = (total - 1) / count
    edges = [round(segment * i) for i in range(count + 1)]  # Python rounds half to even, as numpy
    return [(a + b) // 2 for a, b in pairwise(edges)]


def slow_indices(total: int, n: int) -> list[int]:
    """Positions of the slow frames among `total` sampled frames."""
    return torch.linspace(0, total, n + 1).to(torch.int64).tolist()[:-1]


# ---- pathways ----------------------------------------------------------------------------------


def adaptive_average(x: Tensor, dim: int, size: int) -> Tensor:
    """Average over `size` windows.

    Window i runs from floor(i L / size) to ceil((i + 1) L / size).
    """
    length, means = x.shape[dim], []
    for i in range(size):
        start, end = i * length // size, math.ceil((i + 1) * length / size)
        means.append(x.narrow(dim, start, end - start).mean(dim))
    return torch.stack(means, dim)


def pool_frame(frame: Tensor, pool: str) -> Tensor:
    """Pool one frame, [g*g, D], by one of the five pools."""
    if pool == "concat":
        return frame
    side = math.isqrt(len(frame))
    windows = []
    if pool.startswith("spatial_1d_"):
        for i in range(0, len(frame) - 1, 2):
            windows.append(frame[i : i + 2])
    elif pool.startswith("spatial_2d_"):
        grid = frame.reshape(side, side, -1)
        for y in range(0, side - 1, 2):
            for x in range(0, side - 1, 2):
                windows.append(grid[y : y + 2, x : x + 2].reshape(4, -1))
    stacked = torch.stack(windows)
    if pool.endswith("_max_pool"):
        return stacked.amax(1)
    if pool.endswith("_avg_pool"):
        return stacked.mean(1)
    raise ValueError(pool)


def pathway(features: Tensor, notation: str) -> Tensor:
    """Pool projected features [T, g*g, D] to the video's tokens [N, D]."""
    frames, side = len(features), math.isqrt(features.shape[1])
    if notation == "temporal_global_pool":
        return features.mean(0)
    grid = features.reshape(frames, side, side, -1)
    if notation == "spatial_temporal_pool":
        for dim, size in ((0, 16), (1, 12), (2, 12)):
            grid = adaptive_average(grid, dim, size)
        return grid.flatten(0, 2)
    match = re.fullmatch(r"slowfast-slow_(\d+)frms_(\w+)-fast_(\d+)x(\d+)", notation)
    if match is None:
        return torch.cat([pool_frame(frame, notation) for frame in features])
    slow = [pool_frame(features[i], match[2]) for i in slow_indices(frames, int(match[1]))]
    fast = adaptive_average(adaptive_average(grid, 1, int(match[3])), 2, int(match[4]))
    return torch.cat([*slow, fast.flatten(0, 2)])


# ---- checkpoint --------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _json(path: str) -> dict:
    return json.loads(Path(path).read_text(encoding="utf-8"))


@lru_cache(maxsize=4)
def _weights(folder: str) -> dict[str, Tensor]:
    """Read float32 weights as tower.*, projector.* and text.*, with transformers' names."""
    rules = [
        (r"^(model\.)?vision_tower\.(vision_model\.)?", "tower."),
        (r"^(model\.)?multi_modal_projector\.", "projector."),
        (r"^(language_model\.)?lm_head\.", "text.lm_head."),
        (r"^language_model\.model\.", "text.model."),
        (r"^model\.language_model\.", "text.model."),
    ]
    weights = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        for name, weight in load_file(file).items():
            for pattern, replacement in rules:
                renamed, hits = re.subn(pattern, replacement, name)
                if hits:
                    name = renamed
                    break
            weights[name] = weight.float()
    return weights


def _below(folder: str, prefix: str) -> dict[str, Tensor]:
    weights = _weights(folder)
    return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}


@lru_cache(maxsize=4)
def _tower(folder: str) -> CLIPVisionModel:
    config = CLIPVisionConfig(**_json(f"{folder}/config.json")["vision_config"])
    config._attn_implementation = "eager"
    model = CLIPVisionModel(config).float().eval()
    nested = any(name.startswith("vision_model.") for name in model.state_dict())
    weights = _below(folder, "tower.")
    model.load_state_dict({("vision_model." if nested else "") + n: w for n, w in weights.items()})
    return model


@lru_cache(maxsize=4)
def _language_model(folder: str) -> torch.nn.Module:
    settings = _json(f"{folder}/config.json")["text_config"]
    settings = {k: v for k, v in settings.items() if k not in ("torch_dtype", "dtype")}
    config_class, model_class = _TEXT[settings.pop("model_type")]
    config = config_class(**settings)
    config._attn_implementation = "eager"
    model = model_class(config).float().eval()
    model.load_state_dict(_below(folder, "text."))
    return model


# ---- features ----------------------------------------------------------------------------------


def normalise(folder: str | Path, frames: Tensor | np.ndarray) -> Tensor:
    """Normalise frames: uint8 [T, S, S, 3] to float32 [T, 3, S, S]."""
    settings = _json(f"{folder}/preprocessor_config.json")
    mean = np.array(settings["image_mean"], np.float32)
    std = np.array(settings["image_std"], np.float32)
    values = np.asarray(frames).astype(np.float32) * np.float32(0.00392156862745098)
    return torch.from_numpy((values - mean) / std).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def projected_features(folder: str | Path, frames: Tensor | np.ndarray) -> Tensor:
    """Run tower (layer -2, without class token) and projector on every frame: [T, g*g, D]."""
    folder = str(folder)
    tower, weights = _tower(folder), _weights(folder)
    rows = []
    for batch in normalise(folder, frames).split(TOWER_BATCH):
        hidden = tower(pixel_values=batch, output_hidden_states=True).hidden_states[-2][:, 1:]
        for i in (1, 2):
            name = f"projector.linear_{i}"
            hidden = linear(hidden, weights[f"{name}.weight"], weights[f"{name}.bias"])
            hidden = gelu(hidden) if i == 1 else hidden
        rows.append(hidden)
    return torch.cat(rows)


def video_features(folder: str | Path, frames: Tensor | np.ndarray, notation: str) -> Tensor:
    """Encode resized frames, uint8 [T, S, S, 3], to the video's tokens, float32 [N, D]."""
    return pathway(projected_features(folder, frames), notation)


# ---- text --------------------------------------------------------------------------------------


def prompt_token_ids(tokenizer, prompt: str | Sequence[str], marker: str = "<image>") -> list[int | None]:
    """Tokenise a prompt, with None in place of each video.

    Like the original program, tokenise each stretch of text between markers alone, and keep BOS only on the first. A
    sequence of texts is a prompt already split at its markers.
    """
    texts = prompt.split(marker) if isinstance(prompt, str) else prompt
    ids: list[int | None] = []
    for i, text in enumerate(texts):
        piece = tokenizer(text).input_ids
        if i > 0:
            ids.append(None)
            if tokenizer.bos_token_id is not None and piece[:1] == [tokenizer.bos_token_id]:
                piece = piece[1:]
        ids.extend(piece)
    return ids


class Greedy(NamedTuple):
    token_ids: list[int]
    first_logprobs: Tensor  # [vocabulary], of the first answer token
    margins: list[float]  # per step: best logit minus second best


def _end_tokens(folder: str) -> set[int]:
    end = _json(f"{folder}/generation_config.json").get("eos_token_id")
    return set(end) if isinstance(end, list) else {end}


@torch.no_grad()
def greedy(
    folder: str | Path,
    prompt_ids: Sequence[int | None],
    features: Tensor | Sequence[Tensor],
    max_new_tokens: int,
    *,
    stop_at_eos: bool = True,
) -> Greedy:
    """Answer a prompt greedily; its Nones stand for `features`, each [N, D]."""
    folder = str(folder)
    model = _language_model(folder)
    videos = iter([features] if isinstance(features, Tensor) else features)
    embed = model.get_input_embeddings()
    rows = [next(videos) if i is None else embed(torch.tensor([i])) for i in prompt_ids]
    end = _end_tokens(folder) if stop_at_eos else set()

    token_ids, margins, first = [], [], None
    step = {"inputs_embeds": torch.cat(rows)[None]}
    cache = None
    for _ in range(max_new_tokens):
        out = model(**step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits, cache = out.logits[0, -1], out.past_key_values
        if first is None:
            first = logits.log_softmax(-1)
        best, second = logits.topk(2).values.tolist()
        token_ids.append(int(logits.argmax()))
        margins.append(best - second)
        if token_ids[-1] in end:
            break
        step = {"input_ids": torch.tensor([[token_ids[-1]]])}
    return Greedy(token_ids, first, margins)


@torch.no_grad()
def continuation_logprobs(
    folder: str | Path, prompt_ids: Sequence[int | None], features: Tensor, continuation: Sequence[int]
) -> Tensor:
    """Log-probability of a continuation's tokens; None stands for `features` [N, D]."""
    model = _language_model(str(folder))
    embed = model.get_input_embeddings()
    whole = [*prompt_ids, *continuation]
    rows = [features if i is None else embed(torch.tensor([i])) for i in whole]
    logits = model(inputs_embeds=torch.cat(rows)[None]).logits[0]
    # Logits at one position predict the next token.
    before = logits[-len(continuation) - 1 : -1].log_softmax(-1)
    return before.gather(1, torch.tensor(continuation)[:, None])[:, 0]
