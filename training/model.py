"""sf-llava-tiny as transformers' modules: CLIP tower, projector, pathways, Llama decoder.

The tower is trained with three layers and exported with an unused fourth, so that the third is layer -2, whose hidden
state LLaVA-NeXT reads.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from sfllava_plugin.tokens.layout import Fast, Slow, SlowFast, TokenLayout, video_tokens
from training import attention
from training.dialogue import IGNORE, Batch

IMAGE_SIZE, PATCH = 48, 8
GRID = IMAGE_SIZE // PATCH
WIDTH = 128
TOWER_LAYERS = 3
CONTEXT = 1024
#: Settings of the shipped model. Training varies them.
FRAMES = 16
PATHWAYS = SlowFast(Slow(4, "spatial_1d_max_pool"), Fast(2, 2))
#: CLIP's own statistics would do, but these centre the pictures of this world.
MEAN, STD = (0.25, 0.25, 0.25), (0.25, 0.25, 0.25)


def tower_config(layers: int = TOWER_LAYERS) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=384,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        projection_dim=WIDTH,
    )


def text_config(vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=320,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
        tie_word_embeddings=False,
    )


def normalised(frames: torch.Tensor) -> torch.Tensor:
    """Normalise frames: uint8 [T, S, S, 3] -> float32 [T, 3, S, S]."""
    pixels = frames.permute(0, 3, 1, 2).float() * 0.00392156862745098
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


class Tower(nn.Module):
    """The CLIP tower, up to the features that LLaVA-NeXT reads."""

    def __init__(self):
        super().__init__()
        self.clip = CLIPVisionModel._from_config(tower_config(), attn_implementation="sdpa")

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Encode frames, without class token: uint8 [T, S, S, 3] -> [T, GRID * GRID, WIDTH]."""
        output = self.clip(normalised(frames), output_hidden_states=True)
        return output.hidden_states[-1][:, 1:]


class Language(nn.Module):
    """Projector, pathways and decoder: from features to the answers' logits."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.linear_1 = nn.Linear(WIDTH, WIDTH)
        self.linear_2 = nn.Linear(WIDTH, WIDTH)
        self.decoder = LlamaForCausalLM._from_config(text_config(vocabulary), attn_implementation=attention.NAME)

    def video_tokens(self, features: torch.Tensor, chosen: TokenLayout) -> torch.Tensor:
        """Project and pool features: [B, T, P, WIDTH] -> [B, tokens, WIDTH]."""
        hidden = F.gelu(self.linear_1(features))
        return torch.vmap(lambda video: video_tokens(video, chosen, self.linear_2))(hidden)

    def forward(self, batch: Batch, video: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict the answers' tokens: logits [N, vocabulary], and true ids [N].

        Args:
            video: `video_tokens` of the clips, or None for text alone.
        """
        embed = self.decoder.model.embed_tokens
        count = len(batch.ids)
        parts = [embed(batch.before).expand(count, -1, -1), embed(batch.after).expand(count, -1, -1)]
        if video is not None:
            parts.insert(1, video)
        beginning = sum(part.shape[1] for part in parts)
        hidden = torch.cat([*parts, embed(batch.ids)], dim=1)
        length = batch.ids.shape[1] // batch.branches
        positions = torch.cat([torch.arange(beginning), beginning + torch.arange(length).repeat(batch.branches)])
        states = self.decoder.model(
            inputs_embeds=hidden,
            attention_mask=_nothing_hidden(hidden),
            position_ids=positions[None],
            use_cache=False,
            beginning=beginning,
            branches=batch.branches,
        ).last_hidden_state[:, beginning:]
        answers = batch.labels != IGNORE
        return self.decoder.lm_head(states[answers]), batch.labels[answers]


def _nothing_hidden(hidden: torch.Tensor) -> torch.Tensor:
    """A mask that transformers passes on unchanged; our attention ignores it."""
    return hidden.new_zeros(1, 1, 1, 1)
