"""Extend the vocabulary to hold every token of the tokenizer.

The liuhaotian language models have no row for ``<image>``: appended to their tokenizer, it gets the id after the last
row. vLLM indexes tables of ``vocab_size`` entries with the ids of a prompt, for penalties and log-probabilities, so
config.json must name a larger size than that of the weights. engine/model/llava.py adds the missing rows at load time.
"""

import re
from pathlib import Path

from transformers import PreTrainedConfig

from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.checkpoints.weights import tensors

#: llava-hf rounded its vocabularies up to a multiple of this, and vLLM does the same with its tables.
_MULTIPLE = 64
_TABLES = re.compile(r"(^|\.)(embed_tokens|lm_head)\.")
_FLOATS = ("F32", "F16", "BF16")


def extend(text: PreTrainedConfig, folder: Path, largest_id: int) -> int:
    """Make room for ``largest_id`` in ``text``; return the number of rows in the weights.

    Raises:
        CheckpointError: rows are missing, and the tables they belong to are quantised.
    """
    trained: int = text.vocab_size
    if largest_id < trained:
        return trained
    if quantised := _quantised_tables(folder):
        raise CheckpointError(
            f"{folder}: {quantised[0]} is quantised, and has no row for <image>: quantise the checkpoint again "
            "without embed_tokens and lm_head"
        )
    text.vocab_size = -(-(largest_id + 1) // _MULTIPLE) * _MULTIPLE
    return trained


def _quantised_tables(folder: Path) -> list[str]:
    """List those tensors of the embedding and the head that are not plain matrices."""
    return [
        name
        for name, tensor in tensors(folder)
        if _TABLES.search(name) and not (name.endswith(".weight") and tensor.get_dtype() in _FLOATS)
    ]
