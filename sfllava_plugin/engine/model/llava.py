"""Slow and fast tokens as a vLLM model: tower, projector, token layout, and the checkpoint's own language model.

Composed from vLLM's parts, not derived from its LLaVA files, which import torchvision.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, cast

import torch
from torch import nn
from transformers import LlavaNextConfig
from vllm.config import VllmConfig
from vllm.config.multimodal import MultiModalConfig
from vllm.model_executor.models.interfaces import (
    MultiModalEmbeddings,
    SupportsLoRA,
    SupportsMultiModal,
    SupportsPP,
)
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.sequence import IntermediateTensors

from sfllava_plugin.checkpoints.families import EXTRA_WEIGHTS, WEIGHT_NAMES
from sfllava_plugin.checkpoints.families.towers import VisionConfig
from sfllava_plugin.checkpoints.video_config import VideoConfig
from sfllava_plugin.engine.model.processing import (
    SlowFastLlavaDummyInputs,
    SlowFastLlavaProcessingInfo,
    SlowFastLlavaProcessor,
)
from sfllava_plugin.engine.model.projector import Projector
from sfllava_plugin.engine.model.towers import FrameEncoder, build_tower
from sfllava_plugin.prompts import VIDEO_MARKER
from sfllava_plugin.tokens.arrangement import NEWLINE_WEIGHT

#: The logit of tokens that the weights have no row for. It is so low that their probability is exactly 0, and finite
#: so that a request may allow nothing else; -inf alone would make the probabilities NaN.
_UNTRAINED_LOGIT = -1e4


class _LanguageModel(SupportsPP, Protocol):
    """The parts of a vLLM language model in use here; vLLM annotates it as `nn.Module`."""

    model: Callable[..., torch.Tensor | IntermediateTensors]

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None: ...


@MULTIMODAL_REGISTRY.register_processor(
    SlowFastLlavaProcessor,
    info=SlowFastLlavaProcessingInfo,
    dummy_inputs=SlowFastLlavaDummyInputs,
)
class SlowFastLlavaForConditionalGeneration(nn.Module, SupportsMultiModal, SupportsLoRA, SupportsPP):
    """The architecture that a model directory's config.json names."""

    supports_encoder_tp_data = True
    packed_modules_mapping = {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_regex={re.compile(pattern): name for pattern, name in WEIGHT_NAMES.items()}
    )

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        if modality.startswith(("video", "image")):
            return VIDEO_MARKER
        raise ValueError("Only video and image modalities are supported")

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        # `prepare` refuses all others.
        assert isinstance(config, LlavaNextConfig) and isinstance(config.vision_config, VisionConfig)
        tower = config.vision_config
        quant_config = vllm_config.quant_config
        self.config = config
        self.video_config = VideoConfig.read(config, vllm_config.model_config.model)
        geometry = self.video_config.geometry
        sharded = _shards_frames(vllm_config.model_config.multimodal_config)

        with self._mark_tower_model(vllm_config, {"image", "video"}):
            self.vision_tower = build_tower(tower, geometry, quant_config, prefix=maybe_prefix(prefix, "vision_tower"))
            self.multi_modal_projector = Projector(
                config,
                tower.hidden_size,
                quant_config,
                replicated=sharded,
                prefix=maybe_prefix(prefix, "multi_modal_projector"),
            )
        self.extra_weights = nn.ParameterDict(
            {
                name: nn.Parameter(torch.empty(config.get_text_config().hidden_size), requires_grad=False)
                for name in self.video_config.extra_weights
            }
        )
        self.frame_encoder = FrameEncoder(geometry, sharded=sharded)
        self._cache_config = vllm_config.cache_config
        self._encoder_cache_tokens = vllm_config.scheduler_config.encoder_cache_size

        with self._mark_language_model(vllm_config):
            language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=config.get_text_config(),
                prefix=maybe_prefix(prefix, "language_model"),
            )
            self.language_model = cast(_LanguageModel, language_model)  # annotated as `nn.Module`
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(self, **kwargs: object) -> MultiModalEmbeddings:
        """Embed each video ([tokens, D]) and each image ([patches, D]), in the order of the items.

        Keyword Args:
            video_frames: uint8 [T, S, S, 3] for each video, a list or one tensor when they are equally long; of a
                layout that takes frames of any size, the squares of its picture.
            video_sizes: int64 [3], the number of frames, their height and their width, for each video; by default those
                of ``video_frames``.
            image_frames: uint8 [N, S, S, 3] for each image: itself, or the whole and its tiles.
            image_sizes: int64 [2], the height and width of each image.
        """
        videos = _items(kwargs, "video_frames")
        sizes = _items(kwargs, "video_sizes") or [torch.tensor(frames.shape[:3]) for frames in videos]
        embeddings = [self._video(frames, *size.tolist()) for frames, size in zip(videos, sizes, strict=True)]
        if images := _items(kwargs, "image_frames"):
            embeddings.extend(self._images(images, _items(kwargs, "image_sizes")))
        return self._with_whole_cache(embeddings) if self._is_measured else tuple(embeddings)

    def _video(self, frames: torch.Tensor, count: int, height: int, width: int) -> torch.Tensor:
        """uint8 [T, S, S, 3] -> [tokens, D]."""
        layout, geometry, projector = self.video_config.layout, self.video_config.geometry, self.multi_modal_projector
        pictures, extra = layout.compose(frames), dict(self.extra_weights.items())
        size = height, width
        if layout.arrangement.pool == "before_projector":
            features = self.frame_encoder.features(self.vision_tower, pictures)
            return layout.tokens(features, count, geometry, projector, extra, size)
        return layout.tokens(self._hidden(pictures), count, geometry, projector.output, extra, size)

    def _images(self, images: list[torch.Tensor], sizes: list[torch.Tensor]) -> list[torch.Tensor]:
        """Embed images, whose squares go through the tower together."""
        hidden = torch.cat(list(self._hidden([torch.cat(images)])))
        features = torch.split(self.multi_modal_projector.output(hidden), [len(squares) for squares in images])
        if (anyres := self.video_config.anyres) is None:
            return [squares[0] for squares in features]
        newline = self.extra_weights[NEWLINE_WEIGHT]
        return [
            anyres.arrange(squares, (int(size[0]), int(size[1])), newline)
            if len(squares) > 1
            else torch.cat([squares[0], newline[None]])
            for squares, size in zip(features, sizes, strict=True)
        ]

    @property
    def _is_measured(self) -> bool:
        """Whether vLLM is still measuring memory: the KV cache has no size before."""
        return self._cache_config.num_gpu_blocks is None

    def _with_whole_cache(self, embeddings: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Take as much memory as a full encoder cache.

        vLLM holds these embeddings while it measures (v1/worker/gpu_model_runner.py, `profile_run`), but makes no more
        items than it computes in one step.
        """
        missing = self._encoder_cache_tokens - sum(map(len, embeddings))
        if missing <= 0:
            return tuple(embeddings)
        first, *others = embeddings
        whole = first.new_empty(len(first) + missing, first.shape[1])
        whole[: len(first)] = first
        return whole[: len(first)], *others

    def _hidden(self, pictures: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Batches of [N, S, S, 3] -> the projector's hidden features of every patch, chunks of [C, patches, D]."""
        for features in self.frame_encoder.features(self.vision_tower, pictures):
            yield self.multi_modal_projector.hidden(features)

    def embed_input_ids(
        self,
        input_ids: torch.Tensor,
        multimodal_embeddings: MultiModalEmbeddings | None = None,
        *,
        is_multimodal: torch.Tensor | None = None,
    ) -> torch.Tensor:
        # A marker without a video reads as the first token.
        marker = self.config.image_token_index
        return super().embed_input_ids(
            input_ids.masked_fill(input_ids == marker, 0),
            multimodal_embeddings,  # type: ignore[arg-type]  # vLLM's overloads leave out the union of both
            is_multimodal=is_multimodal,
        )

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: object,
    ) -> torch.Tensor | IntermediateTensors:
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        logits = self.language_model.compute_logits(hidden_states)
        if logits is not None:
            logits[..., self.video_config.trained_vocab_size :] = _UNTRAINED_LOGIT
        return logits

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        return AutoWeightsLoader(self).load_weights(self._prepared(weights), mapper=self.hf_to_vllm_mapper)

    def _prepared(self, weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
        """Append rows of zeros to embedding and head, up to the vocabulary that config.json names.

        Of the extra weights, only those that the token layout needs are kept.
        """
        missing = self.config.get_text_config().vocab_size - self.video_config.trained_vocab_size
        for name, weight in weights:
            if (extra := name.rpartition(".")[2]) in EXTRA_WEIGHTS:
                if extra in self.extra_weights:
                    yield f"extra_weights.{extra}", weight
                continue
            if missing and name.endswith(("embed_tokens.weight", "lm_head.weight")):
                weight = nn.functional.pad(weight, (0, 0, 0, missing))
            yield name, weight

    def get_mm_mapping(self) -> MultiModelKeys:
        """Where LoRA finds the language model, and what it leaves alone."""
        return MultiModelKeys.from_string_field(
            language_model="language_model",
            connector="multi_modal_projector",
            tower_model="vision_tower",
        )


def _items(kwargs: Mapping[str, object], name: str) -> list[torch.Tensor]:
    """List the items of an argument that vLLM gives as a list, or as one tensor if they are alike."""
    return list(cast("Iterable[torch.Tensor]", kwargs.get(name, ())))  # annotated as `object`


def _shards_frames(config: MultiModalConfig | None) -> bool:
    return config is not None and config.mm_encoder_tp_mode == "data"
