"""The plain side: OpenCV, PIL and transformers, without the package."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import (
    DynamicCache,
    LlavaNextForConditionalGeneration,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils import logging

from benchmarks.timing import now

SLOW_FRAMES, FAST_SIDE = 10, 4
_RESCALE = 1 / 255

logging.set_verbosity_error()
logging.disable_progress_bar()


def read_frames(path: str, indices: list[int], image_size: int) -> np.ndarray:
    """Decode and resize frames at rising ``indices``: uint8 [T, S, S, 3].

    The resize is that of the CLIP image processor, and of SigLIP's.
    """
    processor = CLIPImageProcessorPil(
        size={"height": image_size, "width": image_size}, do_center_crop=False, do_rescale=False, do_normalize=False
    )
    capture = cv2.VideoCapture(path)
    images, position = [], 0
    for index in indices:
        while position <= index:
            capture.grab()
            position += 1
        _, frame = capture.retrieve()
        images.append(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
    pixels = np.stack(processor(images)["pixel_values"])
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


@dataclass(frozen=True)
class Prefilled:
    """Logits of the first token, and the KV cache of its prompt."""

    logits: torch.Tensor
    cache: DynamicCache


class PlainModel:
    """transformers' own LLaVA-NeXT, with its parts called by hand.

    The tower's last layer, whose output is never used, is removed: on a shallow tower it would flatter our side.
    """

    MODEL: type[PreTrainedModel] = LlavaNextForConditionalGeneration

    def __init__(self, folder: str, device: torch.device, dtype: torch.dtype):
        model = self.MODEL.from_pretrained(folder, dtype=dtype).to(device).eval()
        processor = CLIPImageProcessorPil.from_pretrained(folder)
        self._model, self._device, self._dtype = model.model, device, dtype
        self._decoder, self._head = model.model.language_model, model.lm_head
        self._prepare_tower()
        self._mean, self._std = (
            torch.tensor(value, device=device).view(3, 1, 1) for value in (processor.image_mean, processor.image_std)
        )

    def _prepare_tower(self) -> None:
        encoder = self._model.vision_tower.encoder
        encoder.layers = encoder.layers[:-1]

    def _pixels(self, frames: torch.Tensor) -> torch.Tensor:
        return ((frames.permute(0, 3, 1, 2).float() * _RESCALE - self._mean) / self._std).to(self._dtype)

    @torch.inference_mode()
    def video_tokens(self, frames: torch.Tensor) -> torch.Tensor:
        """Encode frames and pool both pathways: uint8 [T, S, S, 3] -> [tokens, D]."""
        hidden = self._model.vision_tower(pixel_values=self._pixels(frames)).last_hidden_state[:, 1:]
        features = self._model.multi_modal_projector(hidden)
        count, patches, width = features.shape
        positions = torch.linspace(0, count, SLOW_FRAMES + 1).long()[:-1]
        slow = F.max_pool1d(features[positions].transpose(1, 2), 2).transpose(1, 2)
        grid = features.transpose(1, 2).reshape(count, width, int(patches**0.5), -1)
        fast = F.adaptive_avg_pool2d(grid, FAST_SIDE).flatten(2).transpose(1, 2)
        return torch.cat([slow.flatten(0, 1), fast.flatten(0, 1)])

    @torch.inference_mode()
    def prefill(self, prompt: list[int], marker: int, video: torch.Tensor) -> Prefilled:
        """Prefill the whole prompt, with ``video`` in place of ``marker``."""
        at = prompt.index(marker)
        before, after = (
            self._decoder.get_input_embeddings()(torch.tensor(part, device=self._device))
            for part in (prompt[:at], prompt[at + 1 :])
        )
        embeddings = torch.cat([before, video, after])[None]
        output = self._decoder(inputs_embeds=embeddings, use_cache=True)
        logits = self._head(output.last_hidden_state[0, -1])
        return Prefilled(logits, output.past_key_values)

    @torch.inference_mode()
    def generate(self, prefilled: Prefilled, tokens: int) -> tuple[float, list[int]]:
        """Generate greedily; return seconds per further token, and all token ids.

        The cache is left unchanged.
        """
        chosen = [prefilled.logits.argmax().view(1, 1)]
        start = now()
        for _ in range(tokens):
            output = self._decoder(input_ids=chosen[-1], past_key_values=prefilled.cache, use_cache=True)
            chosen.append(self._head(output.last_hidden_state[0, -1]).argmax().view(1, 1))
        seconds = (now() - start) / tokens
        prefilled.cache.crop(-tokens)
        return seconds, [int(token) for token in chosen]


class PlainOneVision(PlainModel):
    """transformers' own LLaVA-OneVision, with its native tokens."""

    MODEL = LlavaOnevisionForConditionalGeneration

    def _prepare_tower(self) -> None:
        """Leave it alone: every layer is used."""

    @torch.inference_mode()
    def video_tokens(self, frames: torch.Tensor) -> torch.Tensor:
        [tokens] = self._model.get_video_features(self._pixels(frames)[None]).pooler_output
        return tokens
