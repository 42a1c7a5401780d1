"""SlowFast-LLaVA as a vLLM model: CLIP tower, projector, pathways, and the checkpoint's own language model.

Composed from vLLM's parts, not derived from its LLaVA files: those import torchvision. It knows nothing of files,
prompts or how frames were chosen.
"""

import re
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.config.multimodal import MultiModalConfig
from vllm.model_executor.layers.activation import get_act_fn
from vllm.model_executor.layers.linear import ColumnParallelLinear, RowParallelLinear
from vllm.model_executor.layers.quantization import QuantizationConfig
from vllm.model_executor.models.clip import CLIPVisionModel
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
from vllm.model_executor.models.vision import run_dp_sharded_vision_model
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.platforms import current_platform
from vllm.sequence import IntermediateTensors

from sfllava_plugin.engine.model.processing import (
    SlowFastLlavaDummyInputs,
    SlowFastLlavaProcessingInfo,
    SlowFastLlavaProcessor,
)
from sfllava_plugin.prompts import VIDEO_MARKER
from sfllava_plugin.tokens import pooling
from sfllava_plugin.tokens.geometry import VideoSettings

#: Patches that go through the tower at once: it bounds the memory of the tower's activations. On a CPU they also stay
#: in the cores' caches, which is worth a fifth of the tower's time there.
PATCHES_AT_ONCE = 2 * 576 if current_platform.is_cpu() else 16 * 576
#: The logit of tokens that the weights have no row for. It is so low that their probability is exactly 0, and finite
#: so that a request may allow nothing else; -inf alone would make the probabilities NaN.
_UNTRAINED_LOGIT = -1e4
#: 1 / 255 as the reference rounds it.
_RESCALE = 0.00392156862745098


class Projector(nn.Module):
    """Linear, GELU, linear: the tower's features become the language model's embeddings.

    In two halves, because averages of patches may be taken between them (see `pooling.video_tokens`).
    """

    def __init__(self, config, quant_config: QuantizationConfig | None, replicated: bool, prefix: str):
        super().__init__()
        width = config.text_config.hidden_size
        shared = {
            "bias": config.multimodal_projector_bias,
            "quant_config": quant_config,
            "disable_tp": replicated,
        }
        self.linear_1 = ColumnParallelLinear(
            config.vision_config.hidden_size, width, prefix=f"{prefix}.linear_1", **shared
        )
        self.act = get_act_fn(config.projector_hidden_act)
        self.linear_2 = RowParallelLinear(width, width, prefix=f"{prefix}.linear_2", **shared)

    def hidden(self, features: torch.Tensor) -> torch.Tensor:
        """[..., tower width] -> [..., hidden width]."""
        return self.act(self.linear_1(features)[0])

    def output(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., hidden width] -> [..., language model width]; affine."""
        return self.linear_2(hidden)[0]


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
    # The llava-hf repositories, what transformers 5 saves, and the liuhaotian repositories.
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_regex={
            re.compile(r"^(model\.)?image_newline$"): None,
            re.compile(r"^model\.(vision_tower\.vision_tower|vision_tower)\."): "vision_tower.",
            re.compile(r"^vision_tower\.(?!vision_model\.)"): "vision_tower.vision_model.",
            re.compile(r"^model\.mm_projector\.0\."): "multi_modal_projector.linear_1.",
            re.compile(r"^model\.mm_projector\.2\."): "multi_modal_projector.linear_2.",
            re.compile(r"^model\.multi_modal_projector\."): "multi_modal_projector.",
            re.compile(r"^model\.language_model\."): "language_model.model.",
            re.compile(r"^model\."): "language_model.model.",
            re.compile(r"^lm_head\."): "language_model.lm_head.",
        }
    )

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        if modality.startswith(("video", "image")):
            return VIDEO_MARKER
        raise ValueError("Only video and image modalities are supported")

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        quant_config = vllm_config.quant_config
        self.config = config
        self._trained_vocab_size = config.slowfast_trained_vocab_size
        self.settings = VideoSettings.read(config)
        self.shards_frames = _shards_frames(vllm_config.model_config.multimodal_config)
        self._frames_at_once = max(1, PATCHES_AT_ONCE // self.settings.grid**2)

        with self._mark_tower_model(vllm_config, {"image", "video"}):
            self.vision_tower = CLIPVisionModel(
                config.vision_config,
                quant_config=quant_config,
                num_hidden_layers_override=_layers_to_run(config),
                require_post_norm=False,
                prefix=maybe_prefix(prefix, "vision_tower"),
            )
            self.multi_modal_projector = Projector(
                config,
                quant_config,
                replicated=self.shards_frames,
                prefix=maybe_prefix(prefix, "multi_modal_projector"),
            )
        self._cache_config = vllm_config.cache_config
        self._encoder_cache_tokens = vllm_config.scheduler_config.encoder_cache_size
        # Not weights: the tower's input statistics, in float32 whatever the model's dtype.
        for name in ("image_mean", "image_std"):
            value = torch.tensor(getattr(self.settings, name), dtype=torch.float32)
            self.register_buffer(name, value.view(3, 1, 1), persistent=False)

        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=config.text_config,
                prefix=maybe_prefix(prefix, "language_model"),
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(self, **kwargs: object) -> MultiModalEmbeddings:
        """Embeddings of each video ([tokens, D]) and each image ([patches, D]), in the order of the items.

        Keyword Args:
            video_frames: uint8 [T, S, S, 3] for each video, a list or one tensor when they are equally long.
            image_frames: uint8 [S, S, 3] for each image.
        """
        embeddings = []
        project = self.multi_modal_projector.output
        for frames in kwargs.get("video_frames", ()):
            hidden = self._hidden(frames)
            embeddings.append(pooling.chunked_video_tokens(hidden, len(frames), self.settings.pathways, project))
        if "image_frames" in kwargs:
            images = torch.stack(list(kwargs["image_frames"]))
            embeddings.extend(project(torch.cat(list(self._hidden(images)))))
        return self._with_whole_cache(embeddings) if self._is_measured else tuple(embeddings)

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

    def _hidden(self, frames: torch.Tensor) -> Iterator[torch.Tensor]:
        """uint8 [T, S, S, 3] -> the projector's hidden features of every patch, chunks of [C, P, D]."""
        for chunk in frames.split(self._frames_at_once):
            yield self.multi_modal_projector.hidden(self._features(self._normalised(chunk)))

    def _normalised(self, frames: torch.Tensor) -> torch.Tensor:
        pixels = frames.permute(0, 3, 1, 2).to(torch.float32) * _RESCALE
        return (pixels - self.image_mean) / self.image_std

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Hidden state of layer -2 without the class token, [T, P, Dv] (paper section 3.1)."""
        if self.shards_frames:
            return run_dp_sharded_vision_model(pixels, self._tower)
        return self._tower(pixels)

    def _tower(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.vision_tower(pixels, feature_select_strategy="default")

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
            multimodal_embeddings,
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
            logits[..., self._trained_vocab_size :] = _UNTRAINED_LOGIT
        return logits

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        return AutoWeightsLoader(self).load_weights(self._with_every_row(weights), mapper=self.hf_to_vllm_mapper)

    def _with_every_row(self, weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
        """Append rows of zeros to embedding and head, up to the vocabulary that config.json names."""
        missing = self.config.text_config.vocab_size - self._trained_vocab_size
        for name, weight in weights:
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


def _layers_to_run(config) -> int:
    """The tower's layers up to the one whose hidden state is read."""
    return config.vision_config.num_hidden_layers + config.vision_feature_layer + 1


def _shards_frames(config: MultiModalConfig | None) -> bool:
    return config is not None and config.mm_encoder_tp_mode == "data"
