"""The tokenizer of a model directory: the checkpoint's own, with ``<image>`` as one special token.

The llava-hf repositories ship a tokenizer.json that has it; those files are linked untouched. The liuhaotian
repositories ship a sentencepiece model that has not; it is converted once, keeping the released behaviour: every piece
of text between special tokens is tokenised on its own, so a space token stands before and after the video.

This module knows tokenizer files. It does not know configurations or prompts.
"""

import json
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from sfllava_plugin.checkpoints import sentencepiece
from sfllava_plugin.checkpoints.formats import read_json
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.prompts import VIDEO_MARKER

_LINKED = (
    "tokenizer.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
#: Every file that may be a tokenizer's. What is not linked here is nobody else's to bring along.
NAMES = (*_LINKED, "tokenizer_config.json", "tekken.json")
#: Named in tokenizer_config.json, but ours to say; and code, which nobody says.
_OURS = ("chat_template", "processor_class", "auto_map")


def load(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder``, with ``<image>`` as one token.

    Raises:
        CheckpointError: no tokenizer in it that transformers reads.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever its backends raise
        raise CheckpointError(f"{folder}: no tokenizer that transformers reads") from error
    if not _has_marker(folder):
        model = folder / "tokenizer.model"
        if model.exists() and not (folder / "tokenizer.json").exists():
            backend = tokenizer.backend_tokenizer
            backend.model, backend.normalizer = sentencepiece.read(model)
            backend.pre_tokenizer = None
        tokenizer.add_tokens([VIDEO_MARKER], special_tokens=True)
    return tokenizer


def write(folder: Path, out: Path) -> None:
    """Put the tokenizer of ``folder`` into ``out``: links where it needs no change, new files where it does."""
    if not _has_marker(folder):
        load(folder).save_pretrained(out)
        (out / "chat_template.jinja").unlink(missing_ok=True)
    else:
        for name in _LINKED:
            if (folder / name).exists():
                (out / name).symlink_to((folder / name).absolute())
    path = out / "tokenizer_config.json"
    config = read_json(folder / path.name if not path.exists() else path)
    kept = {key: value for key, value in config.items() if key not in _OURS}
    # The class that takes tokenizer.json as it is; the others rebuild parts of it their own way.
    kept["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(kept, indent=2), encoding="utf-8")


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Every text that becomes a special token wherever it stands."""
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def leading_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of the token put before every prompt, or "" for a tokenizer that puts none."""
    ids = tokenizer("").input_ids
    return tokenizer.bos_token if ids[:1] == [tokenizer.bos_token_id] else ""


def _has_marker(folder: Path) -> bool:
    path = folder / "tokenizer.json"
    if not path.exists():
        return False
    return any(token["content"] == VIDEO_MARKER for token in read_json(path).get("added_tokens", []))
