"""Make frames and placeholders: vLLM's multimodal processor (vllm/multimodal/processing).

Videos and images become uint8 frames of the tower's size, and each marker in the prompt as many placeholders as the
model will make embeddings. There is no Hugging Face processor behind it; normalising and pooling are the model's job.

`_call_hf_processor`, `_get_mm_fields_config` and `_get_prompt_updates` are called by keyword: their argument names are
vLLM's.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import BatchFeature, LlavaNextConfig, PreTrainedTokenizerBase
from vllm.config.multimodal import MultiModalDummyOptions
from vllm.inputs import MultiModalDataDict, MultiModalInput
from vllm.multimodal.inputs import HfImageItem, HfVideoItem, MultiModalFieldConfig, MultiModalKwargsItems, VideoItem
from vllm.multimodal.parse import MultiModalDataItems, MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    ProcessorInputs,
    PromptUpdate,
    TimingContext,
)

from sfllava_plugin import registry
from sfllava_plugin.checkpoints.video_config import VideoConfig
from sfllava_plugin.engine.model.prompt_updates import MarkerReplacements
from sfllava_plugin.engine.serving.video_loader import options_of
from sfllava_plugin.prompts import VIDEO_MARKER
from sfllava_plugin.tokens.layout import ImageGrid
from sfllava_plugin.video.resize import resize_frames, to_rgb
from sfllava_plugin.video.tiles import cut_tiles

#: The argument of `_call_hf_processor` for pictures that share a prompt. It is hashed with them, so that vLLM's cache
#: tells such a picture from the same one alone.
_SEVERAL = "several_pictures"


class _VideosWithTimes(MultiModalDataParser):
    """Keep each video's metadata with it; frames given from Python have none."""

    def _get_video_with_metadata(self, video: VideoItem) -> tuple[Any, dict[str, Any] | None]:
        frames, metadata = super()._get_video_with_metadata(video)
        return frames, metadata or {}


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
            "image": max(1, context // self.video_config.geometry.patches),
        }

    def get_data_parser(self) -> MultiModalDataParser:
        return _VideosWithTimes(
            expected_hidden_size=self._get_expected_hidden_size(),
            allow_missing_mm_embeddings=self.allow_missing_mm_embeddings,
            video_needs_metadata=True,
        )

    def parse_mm_data(self, mm_data: MultiModalDataDict, *, validate: bool = True) -> MultiModalDataItems:
        # Both share one marker, and vLLM gives the first markers to the first modality.
        videos_first = dict(sorted(mm_data.items(), key=lambda item: item[0] != "video"))
        return super().parse_mm_data(videos_first, validate=validate)

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        return {
            "video": self.video_config.tokens(self.max_frames),
            "image": self.video_config.picture_tokens(self.video_config.largest_picture, several=False),
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
        frame_height, frame_width = self.info.video_config.largest_frame
        height, width = self.info.video_config.largest_picture
        return {
            "video": self._get_dummy_videos(
                width=frame_width,
                height=frame_height,
                num_frames=self.info.max_frames,
                num_videos=mm_counts.get("video", 0),
                overrides=mm_options.get("video"),
            ),
            "image": self._get_dummy_images(
                width=width,
                height=height,
                num_images=mm_counts.get("image", 0),
                overrides=mm_options.get("image"),
            ),
        }


class SlowFastLlavaProcessor(BaseMultiModalProcessor[SlowFastLlavaProcessingInfo]):
    """Frames and placeholders of videos and images; videos take the first markers."""

    @cached_property
    def _replacements(self) -> MarkerReplacements:
        config = self.info.video_config
        tokenizer = cast("PreTrainedTokenizerBase", self.info.get_tokenizer()) if config.time_instruction else None
        return MarkerReplacements(self.info.get_hf_config().image_token_index, tokenizer, config.sampling)

    def apply(self, inputs: ProcessorInputs, timing_ctx: TimingContext) -> MultiModalInput:
        counts = inputs.mm_data_items.get_all_counts()
        given, marked = sum(counts.values()), inputs.prompt.count(self.info.get_hf_config().image_token_index)
        if marked != given:
            raise ValueError(
                f"the prompt marks {marked} videos or images with {VIDEO_MARKER}, {given} came with it: mark each once"
            )
        self._replacements.check(inputs.prompt)
        if counts.get("image", 0) > 1 and self.info.video_config.pictures.several == "square":
            several = {**inputs.hf_processor_mm_kwargs, _SEVERAL: True}
            inputs = dataclasses.replace(inputs, hf_processor_mm_kwargs=several)
        return super().apply(inputs, timing_ctx)

    def _call_hf_processor(self, hf_data: Mapping[str, object], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        outputs: dict[str, list[torch.Tensor]] = {}
        if "videos" in hf_data:
            videos = cast("Iterable[tuple[HfVideoItem, object]]", hf_data["videos"])  # annotated as `object`
            shown = [self._video(frames) for frames, _ in videos]
            outputs["video_frames"] = [squares for squares, _ in shown]
            outputs["video_sizes"] = [sizes for _, sizes in shown]
        if "images" in hf_data:
            images = cast("Iterable[HfImageItem]", hf_data["images"])
            pictures = [self._picture(image, several=_SEVERAL in hf_kwargs) for image in images]
            outputs["image_frames"] = [squares for squares, _ in pictures]
            outputs["image_sizes"] = [torch.tensor(size) for _, size in pictures]
        return BatchFeature(outputs)

    def _picture(self, image: HfImageItem, *, several: bool) -> tuple[torch.Tensor, tuple[int, int]]:
        """Cut a picture into squares, uint8 [N, S, S, 3]; and its height and width."""
        config = self.info.video_config
        picture, side = to_rgb(cast("Image.Image", image)), config.geometry.image_size
        size = (picture.height, picture.width)
        if config.anyres is None:
            return torch.from_numpy(resize_frames([picture], side, config.picture_fit)), size
        if several and config.pictures.several == "square":
            padded = dataclasses.replace(config.picture_fit, kind="pad")
            return torch.from_numpy(resize_frames([picture], side, padded)), size
        canvas, fitted = config.anyres.canvas(size), config.anyres.fitted(size)
        return torch.from_numpy(cut_tiles(picture, canvas, fitted, side)), size

    def _video(self, video: HfVideoItem) -> tuple[torch.Tensor, torch.Tensor]:
        """Check and resize a video's frames: uint8 [T, S, S, 3]; and their number, height and width.

        Of a layout that takes frames of any size, the squares of its picture are returned instead.
        """
        if not 1 <= len(video) <= self.info.max_frames:
            raise ValueError(
                f"a video of {len(video)} frames: this model takes 1 to {self.info.max_frames}; sample them with "
                "sfllava_plugin.sample_indices, or set more frames for the model"
            )
        # `resize_frames` refuses whatever else a request sends.
        images = cast("NDArray[np.uint8]", video.numpy() if isinstance(video, torch.Tensor) else video)
        config, side = self.info.video_config, self.info.video_config.geometry.image_size
        frames = resize_frames(images, side, config.frame_fit)
        sizes, layout = torch.tensor(frames.shape[:3]), config.layout
        if isinstance(layout, ImageGrid):
            picture = Image.fromarray(layout.picture(frames))
            anyres, size = layout.anyres(config.geometry), (picture.height, picture.width)
            frames = cut_tiles(picture, anyres.canvas(size), anyres.fitted(size), side)
        return torch.from_numpy(frames), sizes

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        batched = MultiModalFieldConfig.batched
        return {
            "video_frames": batched("video"),
            "video_sizes": batched("video", keep_on_cpu=True),
            "image_frames": batched("image"),
            "image_sizes": batched("image", keep_on_cpu=True),
        }

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        video_config = self.info.video_config

        def video(index: int) -> tuple[int, dict[str, Any]]:
            sizes = cast("torch.Tensor", out_mm_kwargs["video"][index]["video_sizes"].data)
            _, metadata = mm_items["video"].get(index)
            frames, height, width = sizes.tolist()
            return video_config.tokens(frames, (height, width)), metadata

        def picture(index: int) -> int:
            size = cast("torch.Tensor", out_mm_kwargs["image"][index]["image_sizes"].data)
            height, width = size.tolist()
            return video_config.picture_tokens((height, width), several=_SEVERAL in hf_processor_mm_kwargs)

        return self._replacements.updates(video, picture)
