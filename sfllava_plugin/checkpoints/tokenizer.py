"""Write a model directory's tokenizer: the checkpoint's own, with ``<image>`` as one special token.

The llava-hf repositories ship a tokenizer.json with that token, and their files are linked untouched. The liuhaotian
repositories ship a sentencepiece model without it, which is converted once. As in the released program, each piece of
text between special tokens is tokenised on its own, so a space token precedes and follows the video.
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
#: Every file that may belong to a tokenizer. json_files.py links none of them.
NAMES = (*_LINKED, "tokenizer_config.json", "tekken.json")
#: Keys dropped from tokenizer_config.json: the chat template has its own file, and no code is named.
_OURS = ("chat_template", "processor_class", "auto_map")


def load(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer in ``folder``, with ``<image>`` as one token.

    Raises:
        CheckpointError: it holds no tokenizer that transformers can read.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever its backends raise
        raise CheckpointError(f"{folder}: no tokenizer that transformers can read") from error
    if not _has_marker(folder):
        model = folder / "tokenizer.model"
        if model.exists() and not (folder / "tokenizer.json").exists():
            backend = tokenizer.backend_tokenizer
            backend.model, backend.normalizer = sentencepiece.read(model)
            backend.pre_tokenizer = None
        tokenizer.add_tokens([VIDEO_MARKER], special_tokens=True)
    return tokenizer


def write(folder: Path, out: Path) -> None:
    """Write the tokenizer of ``folder`` into ``out``, as links where it needs no change."""
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
    # This class takes tokenizer.json unchanged; the others rebuild parts of it.
    kept["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(kept, indent=2), encoding="utf-8")


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """List the texts that become special tokens wherever they occur."""
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def leading_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the text of the token that starts every prompt, or "" if there is none."""
    ids = tokenizer("").input_ids
    return tokenizer.bos_token if ids[:1] == [tokenizer.bos_token_id] else ""


def _has_marker(folder: Path) -> bool:
    path = folder / "tokenizer.json"
    if not path.exists():
        return False
    return any(token["content"] == VIDEO_MARKER for token in read_json(path).get("added_tokens", []))
