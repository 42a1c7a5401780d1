"""Attention over branches with a common prefix, registered in transformers as "branching".

The prefix attends to itself, a branch to the prefix and itself. Nothing is computed between branches, so the result is
that of masked attention over everything, for a third of the work.
"""

import torch
from transformers import AttentionInterface

NAME = "branching"


def _branching(module, query, key, value, attention_mask, scaling, *, beginning: int, branches: int, **_):
    """Attend: [B, H, L, D] -> [B, L, H, D], L = beginning + branches * length."""
    query = query * scaling
    first, rest = (slice(None), slice(None), slice(beginning)), (slice(None), slice(None), slice(beginning, None))
    scores = (query[first] @ key[first].transpose(-1, -2)).float() + _causal(beginning)
    start = scores.softmax(-1).to(value.dtype) @ value[first]

    # [B, H, branches, length, D]
    own_query, own_key, own_value = (part[rest].unflatten(2, (branches, -1)) for part in (query, key, value))
    to_beginning = (query[rest] @ key[first].transpose(-1, -2)).unflatten(2, (branches, -1))
    to_itself = own_query @ own_key.transpose(-1, -2) + _causal(own_query.shape[3])
    weights = torch.cat([to_beginning.float(), to_itself.float()], dim=-1).softmax(-1).to(value.dtype)
    from_beginning, from_itself = weights.split([beginning, own_query.shape[3]], dim=-1)
    branch = from_beginning.flatten(2, 3) @ value[first] + (from_itself @ own_value).flatten(2, 3)
    return torch.cat([start, branch], dim=2).transpose(1, 2), None


def _causal(length: int) -> torch.Tensor:
    return torch.full((length, length), -1e9).triu(1)


AttentionInterface.register(NAME, _branching)
