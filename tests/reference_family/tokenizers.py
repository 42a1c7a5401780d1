"""Tokenizer files of the small checkpoints."""

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken

from examples.random_tokenizers import FAMILIES, build, write_tokenizer

_ADDED = {
    "llava-1.5": ("<image>", "<pad>"),
    "llava-next": ("<image>", "<pad>"),
    "next-video": ("<video>", "<image>", "<pad>"),
    "onevision": ("<image>", "<video>"),
}
_PROCESSORS = {
    "llava-1.5": "LlavaProcessor",
    "llava-next": "LlavaNextProcessor",
    "next-video": "LlavaNextVideoProcessor",
    "onevision": "LlavaOnevisionProcessor",
}


@dataclass(frozen=True)
class Words:
    """Ids for the configuration, and rows of the embedding."""

    pieces: int  # what the language model knew before <image>
    vocabulary: int
    bos: int | None
    eos: int
    pad: int
    image: int | None = None
    video: int | None = None


def _rows(words: int) -> int:
    return -(-words // 64) * 64


def write(folder: Path, kind: str, family: str) -> Words:
    """Write the tokenizer files; the original format knows no <image>."""
    ids = write_tokenizer(folder, family, layout="hf" if kind in _ADDED else "original")
    tokenizer, _ = build(family, with_image=False)
    if kind not in _ADDED:
        if family != "qwen":  # no row beyond the pieces, so that <image> has none
            return Words(ids.pieces, ids.pieces, tokenizer.token_to_id("<s>"), ids.eos, tokenizer.token_to_id("<unk>"))
        end = tokenizer.token_to_id("<|endoftext|>")
        return Words(ids.pieces, _rows(ids.pieces + 2), end, ids.eos, end)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in _ADDED[kind]])
    tokenizer.save(str(folder / "tokenizer.json"))

    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    settings["added_tokens_decoder"] = {
        str(i): {"content": token.content, "special": True, **flags}
        for i, token in sorted(tokenizer.get_added_tokens_decoder().items())
    }
    pad = "<pad>" if "<pad>" in _ADDED[kind] else "<|endoftext|>"
    marks = {f"{name}_token": f"<{name}>" for name in ("image", "video") if f"<{name}>" in _ADDED[kind]}
    settings |= {"pad_token": pad, "processor_class": _PROCESSORS[kind], "extra_special_tokens": marks}
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    file = folder / "special_tokens_map.json"
    specials = json.loads(file.read_text(encoding="utf-8")) | {"pad_token": pad}
    file.write_text(json.dumps(specials, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    whole = tokenizer.get_vocab_size()
    bos = tokenizer.token_to_id(FAMILIES[family].bos) if FAMILIES[family].bos else None
    image, video = (tokenizer.token_to_id(text) for text in ("<image>", "<video>"))
    return Words(ids.pieces, _rows(whole), bos, ids.eos, tokenizer.token_to_id(pad), image, video)
