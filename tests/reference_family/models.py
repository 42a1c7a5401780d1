"""Features and answers of a checkpoint folder through transformers' classes.

All in float32 and eager attention. Only the Pil image processors are used, from their own modules: the others,
and every video processor, need torchvision.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests.reference_family import anyres, original, pools
from tests.reference_family.frames import CLIP_MEAN, CLIP_STD, HALF

Folder = str | Path


def read_json(folder: Folder, name: str) -> dict:
    return json.loads((Path(folder) / name).read_text(encoding="utf-8"))


def architecture(folder: Folder) -> str:
    return read_json(folder, "config.json")["architectures"][0]


def is_original(folder: Folder) -> bool:
    """Tell whether the folder is in the programs' format."""
    return architecture(folder) in original.ARCHITECTURES


def weights(folder: Folder) -> dict[str, Tensor]:
    """All weights in float32, under the names in the files."""
    files = sorted(Path(folder).glob("*.safetensors"))
    return {name: weight.float() for file in files for name, weight in load_file(file).items()}


@lru_cache(maxsize=4)
def _load(folder: str, written: int) -> PreTrainedModel:
    if is_original(folder):
        return original.load(read_json(folder, "config.json"), weights(folder))
    model, report = getattr(transformers, architecture(folder)).from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    wrong = {name: report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys") if report[name]}
    if wrong:
        raise ValueError(f"{folder}: {wrong}")
    return model.eval()


def load(folder: Folder) -> PreTrainedModel:
    """Load a checkpoint once, and again if it was rewritten."""
    return _load(str(folder), (Path(folder) / "config.json").stat().st_mtime_ns)


# ---- frames ----------------------------------------------------------------------------------


def _has_clip(folder: Folder) -> bool:
    return load(folder).config.vision_config.model_type.startswith("clip")


def _statistics(folder: Folder) -> dict:
    if is_original(folder):
        mean, std = (CLIP_MEAN, CLIP_STD) if _has_clip(folder) else (HALF, HALF)
        return {"image_mean": list(mean), "image_std": list(std)}
    settings = read_json(folder, "preprocessor_config.json")
    return {name: settings[name] for name in ("image_mean", "image_std")}


def pixel_values(folder: Folder, frames: np.ndarray | Tensor) -> Tensor:
    """Normalise frames: uint8 [T, S, S, 3] to float32 [T, 3, S, S]."""
    clip = _has_clip(folder)
    options = _statistics(folder) | {"do_resize": False}
    processor = CLIPImageProcessorPil(do_center_crop=False, **options) if clip else SiglipImageProcessorPil(**options)
    pictures = [Image.fromarray(frame) for frame in np.asarray(frames)]
    return processor(pictures, return_tensors="pt").pixel_values


@torch.no_grad()
def tower(folder: Folder, pixels: Tensor) -> Tensor:
    model = load(folder)
    hidden = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    chosen = hidden[model.config.vision_feature_layer]
    return chosen[:, 1:] if model.config.vision_feature_select_strategy == "default" else chosen


@torch.no_grad()
def project(folder: Folder, features: Tensor) -> Tensor:
    """Apply the projector to tower features of any shape [..., C]."""
    return load(folder).model.multi_modal_projector(features)


def tower_maps(folder: Folder, frames: np.ndarray | Tensor) -> Tensor:
    """Encode frames: uint8 [T, S, S, 3] to [T, g*g, C]."""
    return tower(folder, pixel_values(folder, frames))


def projected_maps(folder: Folder, frames: np.ndarray | Tensor) -> Tensor:
    """Encode and project frames: uint8 [T, S, S, 3] to [T, g*g, D]."""
    return project(folder, tower_maps(folder, frames))


def newline(folder: Folder) -> Tensor:
    """The vector `image_newline`, [D]; LLaVA-1.5 has none."""
    return load(folder).model.image_newline.detach()


def faster_token(folder: Folder) -> Tensor:
    """LLaVA-Video's vector `faster_token`, [D].

    Raises:
        KeyError: the files lack it.
    """
    return weights(folder)["model.faster_token"]


def _llava_video(folder: Folder, frames: np.ndarray | Tensor, settings: dict) -> Tensor:
    """LLaVA-Video's layout, which no class of transformers has."""
    maps, vector = pools.as_maps(projected_maps(folder, frames)), newline(folder)
    mode = settings.get("mm_spatial_pool_mode", "bilinear")
    if settings.get("add_faster_video"):
        return pools.interleaved(maps, settings["faster_token_stride"], vector, faster_token(folder), mode)
    where = {"grid": "rows", "frame": "frames", "one_token": "end", "no_token": "none"}
    return pools.every_frame(maps, mode, where[settings["mm_newline_position"]], vector)


@torch.no_grad()
def native_video_features(folder: Folder, frames: np.ndarray | Tensor) -> Tensor:
    """Encode frames in the checkpoint's own layout: [N, D].

    `frames` are resized, uint8 [T, S, S, 3]. LLaVA-1.5 has no video layout: its frames are as many pictures.

    Raises:
        ValueError: LLaVA-NeXT, for which no layout is native.
    """
    settings = read_json(folder, "config.json")
    if "mm_newline_position" in settings:
        return _llava_video(folder, frames, settings)
    pixels, model = pixel_values(folder, frames), load(folder)
    name = type(model).__name__
    if name == "LlavaForConditionalGeneration":
        return torch.cat(model.get_image_features(pixels).pooler_output)
    if name == "LlavaNextVideoForConditionalGeneration":
        return torch.cat(model.get_video_features(pixels[None]).pooler_output).flatten(0, 1)
    if name == "LlavaOnevisionForConditionalGeneration":
        return model.get_video_features(pixels[None]).pooler_output[0]
    raise ValueError(f"{name} has no video layout of its own")


# ---- pictures --------------------------------------------------------------------------------


def picture_inputs(folder: Folder, pictures: Sequence[Image.Image], *, fit: str = "crop") -> dict[str, Tensor]:
    """Prepare the pictures of one prompt as inputs of transformers' model.

    `fit`, for LLaVA-1.5: crop as llava-hf does, or pad as the program does.
    """
    side, name = load(folder).config.vision_config.image_size, architecture(folder)
    square, options = {"height": side, "width": side}, _statistics(folder)
    cropped = options | {"size": {"shortest_edge": side}, "crop_size": square}
    pictures = [picture.convert("RGB") for picture in pictures]
    if name == "LlavaForConditionalGeneration":
        processor = LlavaImageProcessorPil(do_pad=True, **cropped) if fit == "pad" else CLIPImageProcessorPil(**cropped)
        return dict(processor(pictures, return_tensors="pt"))
    sizes = load(folder).config.image_grid_pinpoints
    if name == "LlavaOnevisionForConditionalGeneration":
        processor = LlavaOnevisionImageProcessorPil(size=square, image_grid_pinpoints=sizes, **options)
        return dict(processor([pictures], return_tensors="pt"))  # one list: the pictures of one prompt
    return dict(LlavaNextImageProcessorPil(image_grid_pinpoints=sizes, **cropped)(pictures, return_tensors="pt"))


def _program_picture(folder: Folder, picture: Image.Image) -> Tensor:
    """Encode one picture as the program does.

    Its pinpoints are (width, height), and it rounds nothing.
    """
    config, vector = load(folder).config, newline(folder)
    side = config.vision_config.image_size
    sizes = anyres.swapped(config.image_grid_pinpoints)
    tiles = anyres.tiles(picture.convert("RGB"), sizes, side)
    features = projected_maps(folder, np.stack([np.asarray(tile) for tile in tiles]))
    size = (picture.height, picture.width)
    limit = None if _has_clip(folder) else anyres.MAX_TILES
    return anyres.pack(features, size, sizes, side, vector, limit, digits=None)


@torch.no_grad()
def picture_features(folder: Folder, picture: Image.Image, *, fit: str = "crop") -> Tensor:
    """Encode one picture of any size: [N, D].

    Original formats as the program does it, others as transformers.
    """
    if is_original(folder):
        return _program_picture(folder, picture)
    return load(folder).get_image_features(**picture_inputs(folder, [picture], fit=fit)).pooler_output[0]


@torch.no_grad()
def pictures_features(folder: Folder, pictures: Sequence[Image.Image], *, fit: str = "crop") -> list[Tensor]:
    """Encode several pictures of one prompt: [N, D] each. hf formats only.

    OneVision pads each to a square and makes no tiles; the others treat each as if it were alone.
    """
    return list(load(folder).get_image_features(**picture_inputs(folder, pictures, fit=fit)).pooler_output)


# ---- text ------------------------------------------------------------------------------------


class Greedy(NamedTuple):
    """An answer."""

    token_ids: list[int]
    first_logprobs: Tensor  # [vocabulary], of the first token
    margins: list[float]  # per token: best logit minus second best


@torch.no_grad()
def embed(folder: Folder, token_ids: Sequence[int | None], features: Tensor | Sequence[Tensor]) -> Tensor:
    """Embed a prompt: [1, L, D].

    Its Nones stand for `features`, each [N, D].
    """
    words = load(folder).get_input_embeddings()
    visual = iter([features] if isinstance(features, Tensor) else features)
    rows = [next(visual) if i is None else words(torch.tensor([i])) for i in token_ids]
    return torch.cat(rows)[None]


@torch.no_grad()
def logits(folder: Folder, inputs_embeds: Tensor) -> Tensor:
    """Logits at every position: [1, L, vocabulary]."""
    return load(folder)(inputs_embeds=inputs_embeds).logits


def _end_tokens(folder: Folder) -> set[int]:
    end = read_json(folder, "generation_config.json")["eos_token_id"]
    return set(end) if isinstance(end, list) else {end}


@torch.no_grad()
def greedy(
    folder: Folder,
    token_ids: Sequence[int | None],
    features: Tensor | Sequence[Tensor],
    max_tokens: int,
    *,
    stop_at_eos: bool = True,
) -> Greedy:
    """Answer a prompt greedily; its Nones stand for `features`, each [N, D]."""
    model, end = load(folder), _end_tokens(folder) if stop_at_eos else set()
    chosen, margins, first, cache = [], [], None, None
    step = {"inputs_embeds": embed(folder, token_ids, features)}
    while len(chosen) < max_tokens:
        out = model(**step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        last, cache = out.logits[0, -1], out.past_key_values
        if first is None:
            first = last.log_softmax(-1)
        best, second = last.topk(2).values.tolist()
        chosen.append(int(last.argmax()))
        margins.append(best - second)
        if chosen[-1] in end:
            break
        step = {"input_ids": torch.tensor([[chosen[-1]]])}
    return Greedy(chosen, first, margins)
