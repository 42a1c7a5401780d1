"""Make frames and placeholders: vLLM's multimodal processor (vllm/multimodal/processing).

Videos and images become uint8 frames of the tower's size, and each marker in the prompt as many placeholders as the
model will make embeddings. There is no Hugging Face processor behind it; normalising and pooling are the model's job.

`_call_hf_processor`, `_get_mm_fields_config` and `_get_prompt_updates` are called by keyword: their argument names are
vLLM's.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BatchFeature, LlavaNextConfig
from vllm.config.multimodal import MultiModalDummyOptions
from vllm.inputs import MultiModalDataDict, MultiModalInput
from vllm.multimodal.inputs import HfImageItem, HfVideoItem, MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import MultiModalDataItems
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    ProcessorInputs,
    PromptReplacement,
    PromptUpdate,
    TimingContext,
)

from sfllava_plugin import registry
from sfllava_plugin.checkpoints.video_config import VideoConfig
from sfllava_plugin.engine.serving.video_loader import options_of
from sfllava_plugin.prompts import VIDEO_MARKER
from sfllava_plugin.video.resize import resize_frames


class SlowFastLlavaProcessingInfo(BaseProcessingInfo):
    """Token counts, and how many videos and images fit one prompt."""

    def get_hf_config(self) -> LlavaNextConfig:
        return self.ctx.get_hf_config(LlavaNextConfig)

    @cached_property
    def video_config(self) -> VideoConfig:
        return VideoConfig.read(self.get_hf_config(), self.ctx.model_config.model)

    @property
    def max_frames(self) -> int:
        """The operator's number of frames (config_hook.py), with which vLLM measures memory."""
        return options_of(self.ctx.model_config).frames

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        return {}

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        context = self.ctx.model_config.max_model_len
        return {
            "video": max(1, min(registry.load().limits.videos, context // self.video_config.tokens(1))),
            "image": max(1, context // self.video_config.image_tokens),
        }

    def parse_mm_data(self, mm_data: MultiModalDataDict, *, validate: bool = True) -> MultiModalDataItems:
        # Both share one marker, and vLLM gives the first markers to the first modality.
        videos_first = dict(sorted(mm_data.items(), key=lambda item: item[0] != "video"))
        return super().parse_mm_data(videos_first, validate=validate)

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        return {
            "video": self.video_config.tokens(self.max_frames),
            "image": self.video_config.image_tokens,
        }


class SlowFastLlavaDummyInputs(BaseDummyInputsBuilder[SlowFastLlavaProcessingInfo]):
    """The largest video and image, for measuring memory."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return VIDEO_MARKER * sum(mm_counts.values())

    def get_dummy_mm_data(
        self,
        seq_len: int,
        mm_counts: Mapping[str, int],
        mm_options: MultiModalDummyOptions,
    ) -> MultiModalDataDict:
        size = self.info.video_config.geometry.image_size
        return {
            "video": self._get_dummy_videos(
                width=size,
                height=size,
                num_frames=self.info.max_frames,
                num_videos=mm_counts.get("video", 0),
                overrides=mm_options.get("video"),
            ),
            "image": self._get_dummy_images(
                width=size,
                height=size,
                num_images=mm_counts.get("image", 0),
                overrides=mm_options.get("image"),
            ),
        }


class SlowFastLlavaProcessor(BaseMultiModalProcessor[SlowFastLlavaProcessingInfo]):
    """Frames and placeholders of videos and images; videos take the first markers."""

    def apply(self, inputs: ProcessorInputs, timing_ctx: TimingContext) -> MultiModalInput:
        given = sum(inputs.mm_data_items.get_all_counts().values())
        marked = inputs.prompt.count(self.info.get_hf_config().image_token_index)
        if marked != given:
            raise ValueError(
                f"the prompt marks {marked} videos or images with {VIDEO_MARKER}, {given} came with it: mark each once"
            )
        return super().apply(inputs, timing_ctx)

    def _call_hf_processor(self, hf_data: Mapping[str, object], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        outputs = {}
        if "videos" in hf_data:
            videos = cast("Iterable[HfVideoItem]", hf_data["videos"])  # annotated as `object`, as the images
            outputs["video_frames"] = [self._video(video) for video in videos]
        if "images" in hf_data:
            images = cast("Iterable[HfImageItem]", hf_data["images"])
            outputs["image_frames"] = [self._resized([image])[0] for image in images]
        return BatchFeature(outputs)

    def _video(self, video: HfVideoItem) -> torch.Tensor:
        """Check and resize a video's frames: uint8 [T, S, S, 3]."""
        if not 1 <= len(video) <= self.info.max_frames:
            raise ValueError(
                f"a video of {len(video)} frames: this model takes 1 to {self.info.max_frames}; sample them with "
                "sfllava_plugin.sample_indices, or set more frames for the model"
            )
        return self._resized(video)

    def _resized(self, frames: HfVideoItem | list[HfImageItem]) -> torch.Tensor:
        if isinstance(frames, torch.Tensor):
            frames = frames.numpy()
        video_config = self.info.video_config
        # Refuses whatever else a request sends.
        images = cast("NDArray[np.uint8]", frames)
        return torch.from_numpy(resize_frames(images, video_config.geometry.image_size, video_config.frame_fit))

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {
            "video_frames": MultiModalFieldConfig.batched("video"),
            "image_frames": MultiModalFieldConfig.batched("image"),
        }

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        token = self.info.get_hf_config().image_token_index
        video_config = self.info.video_config

        def video(index: int) -> list[int]:
            frames = out_mm_kwargs["video"][index]["video_frames"].data
            return [token] * video_config.tokens(len(frames))

        def image(index: int) -> list[int]:
            return [token] * video_config.image_tokens

        return [
            PromptReplacement(modality="video", target=[token], replacement=video),
            PromptReplacement(modality="image", target=[token], replacement=image),
        ]
