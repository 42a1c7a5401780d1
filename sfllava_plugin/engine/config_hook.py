"""Complete vLLM's configuration from a model directory's own.

vLLM maps architectures to classes that may complete a model's configuration (vllm/model_executor/models/config.py).
The number of frames must be set there, or vLLM's own default of 32 reaches the loader.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sfllava_plugin import registry
from sfllava_plugin.checkpoints import room
from sfllava_plugin.checkpoints.prepared import ARCHITECTURE
from sfllava_plugin.checkpoints.video_config import VideoConfig
from sfllava_plugin.engine.serving.video_loader import OPTIONS_KEY, LoaderOptions, options_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm.config import ModelConfig, VllmConfig


def register() -> None:
    """Register the hook of our architecture."""
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig

    class SlowFastLlavaDefaults(VerifyAndUpdateConfig):
        @staticmethod
        def verify_and_update_model_config(model_config: "ModelConfig") -> None:
            complete(model_config)

        @staticmethod
        def verify_and_update_config(vllm_config: "VllmConfig") -> None:
            enlarge_encoder_cache(vllm_config)

    MODELS_CONFIG_MAP.setdefault(ARCHITECTURE, SlowFastLlavaDefaults)


def enlarge_encoder_cache(vllm_config: "VllmConfig") -> None:
    """Make room for the tokens of `cached_videos` videos.

    vLLM keeps only what it computes in one step (config/scheduler.py), one or two videos. Questions that alternate
    between more videos would run the tower every time.
    """
    model_config = vllm_config.model_config
    if model_config.multimodal_config is None:
        return
    loader = options_of(model_config)
    tokens = VideoConfig.read(model_config.hf_config, model_config.model).tokens(loader.frames)
    scheduler = vllm_config.scheduler_config
    scheduler.encoder_cache_size = max(scheduler.encoder_cache_size, loader.limits.cached_videos * tokens)


def complete(model_config: "ModelConfig") -> None:
    """Pass frame count, image size and limits to the video loader.

    Raises:
        ValueError: pathways or frames do not exist, or leave no token for a question.
    """
    limits = registry.load().limits
    video_config = VideoConfig.read(model_config.hf_config, model_config.model)
    # None if the user switched off every modality: the model then runs on text alone.
    if model_config.multimodal_config is None:
        return
    video = model_config.multimodal_config.media_io_kwargs.setdefault("video", {})
    if video.get("num_frames", -1) == -1:
        video["num_frames"] = video_config.frames
    frames = video["num_frames"]
    if not isinstance(frames, int) or isinstance(frames, bool) or not 1 <= frames <= limits.frames:
        raise ValueError(f"num_frames of a video must be 1 to {limits.frames}, not {frames!r}")
    size, sampling, fit = video_config.geometry.image_size, video_config.sampling, video_config.frame_fit
    video[OPTIONS_KEY] = LoaderOptions(frames, size, limits, sampling, fit)
    if problem := room.shortage(video_config, frames, model_config.max_model_len, partial(_tokenizer, model_config)):
        raise ValueError(f"{problem}: take fewer frames, a coarser pathway or a larger --max-model-len")


def _tokenizer(model_config: "ModelConfig") -> "PreTrainedTokenizerBase":
    from sfllava_plugin.checkpoints import tokenizer

    return tokenizer.load(Path(model_config.tokenizer))
