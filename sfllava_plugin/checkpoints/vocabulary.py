"""A vocabulary that holds every token of a model directory's tokenizer.

The liuhaotian language models have no row for ``<image>``: appended to their tokenizer, it gets the id after the last
row. vLLM indexes tables of ``vocab_size`` entries with the ids of a prompt, for penalties and log-probabilities, so
config.json must name a larger size than the weights have. engine/model.py adds the missing rows while it loads them.
"""

import re
from pathlib import Path

from safetensors import safe_open
from transformers import LlavaNextConfig

from sfllava_plugin.checkpoints.formats import CheckpointError, weight_files

#: llava-hf rounded its vocabularies up to a multiple of this, and vLLM rounds its tables.
_MULTIPLE = 64
_TABLES = re.compile(r"(^|\.)(embed_tokens|lm_head)\.")
_FLOATS = ("F32", "F16", "BF16")


def extend(config: LlavaNextConfig, folder: Path, largest_id: int) -> None:
    """Make room for ``largest_id`` in ``config``, and note how many rows the weights in ``folder`` have.

    Raises:
        CheckpointError: the weights need more rows, and are quantised where the rows would be added.
    """
    text = config.text_config
    config.slowfast_trained_vocab_size = text.vocab_size
    if largest_id < text.vocab_size:
        return
    if quantised := _quantised_tables(folder):
        raise CheckpointError(
            f"{folder}: {quantised[0]} is quantised, and has no row for <image>: quantise the checkpoint again "
            "without embed_tokens and lm_head"
        )
    text.vocab_size = -(-(largest_id + 1) // _MULTIPLE) * _MULTIPLE


def _quantised_tables(folder: Path) -> list[str]:
    """Names of the embedding's and the head's tensors, unless they are plain matrices."""
    names = []
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as weights:
                for name in filter(_TABLES.search, weights.keys()):
                    if not name.endswith(".weight") or weights.get_slice(name).get_dtype() not in _FLOATS:
                        names.append(name)
    return names
