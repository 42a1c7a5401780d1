"""Write tokenizer files of the LLaVA-NeXT families, for checkpoints with random weights.

vicuna, mistral: the 32000 Llama-style pieces shipped in mistral_common, in the legacy form of the llava-hf
repositories, which prepends a space to every stretch of text between special tokens. yi: the same pieces with ChatML
marks, without the space and without BOS. llama3, qwen: byte-level BPE, trained on the spot on Python's documentation.
"""

import importlib.util
import json
import shutil
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

IMAGE, PAD = "<image>", "<pad>"
SPACE = "▁"
BYTE_LEVEL_PIECES = 2000

# Byte-level families split text into words by these before merging.
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_WORDS = LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")

# One message: images first, then text. Content is a list of parts, as in llava-hf's templates.
_PARTS = (
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
)


def _template(before: str, after: str, generation: str) -> str:
    loop = f"{{% for message in messages %}}{before}{_PARTS}{after}{{% endfor %}}"
    return loop + "{% if add_generation_prompt %}" + generation + "{% endif %}"


_VICUNA_CHAT = _template(
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}",
    "{{ ' ' }}",
    "{{ 'ASSISTANT:' }}",
)
_CHATML = _template(
    "{{ '<|im_start|>' + message['role'] + '\\n' }}",
    "{{ '<|im_end|>\\n' }}",
    "{{ '<|im_start|>assistant\\n' }}",
)
_MISTRAL_CHAT = _template(
    "{{ '[INST] ' if message['role'] == 'user' else ' ' }}",
    "{{ ' [/INST]' if message['role'] == 'user' else '</s> ' }}",
    "",
)
_LLAMA3_CHAT = _template(
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}",
    "{{ '<|eot_id|>' }}",
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}",
)

_CHATML_MARKS = ("<|im_start|>", "<|im_end|>")
_LLAMA3_MARKS = tuple(
    f"<|{name}|>" for name in ("begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id")
)


@dataclass(frozen=True)
class Family:
    """Properties of one family's tokenizer."""

    tokenizer_class: str
    bos: str | None
    eos: str
    own_specials: tuple[str, ...]  # added after the vocabulary, before <image>
    chat_template: str
    adds_bos: bool = True
    prefix_space: bool = True
    words: str = ""  # byte-level families only
    max_length: int = 4096


FAMILIES = {
    "vicuna": Family("LlamaTokenizer", "<s>", "</s>", (), _VICUNA_CHAT),
    "mistral": Family("LlamaTokenizer", "<s>", "</s>", (), _MISTRAL_CHAT, max_length=32768),
    "yi": Family(
        "LlamaTokenizer",
        "<s>",
        "<|im_end|>",
        _CHATML_MARKS,
        _CHATML,
        adds_bos=False,
        prefix_space=False,
    ),
    "llama3": Family(
        "PreTrainedTokenizerFast",
        "<|begin_of_text|>",
        "<|eot_id|>",
        _LLAMA3_MARKS,
        _LLAMA3_CHAT,
        words=LLAMA3_WORDS,
        max_length=8192,
    ),
    "qwen": Family(
        "Qwen2Tokenizer",
        None,
        "<|im_end|>",
        ("<|endoftext|>", *_CHATML_MARKS),
        _CHATML,
        adds_bos=False,
        words=QWEN_WORDS,
        max_length=32768,
    ),
}


@dataclass(frozen=True)
class Ids:
    """Token ids for the model's configuration."""

    pieces: int  # vocabulary of the language model, before <image>
    image: int
    pad: int
    bos: int | None
    eos: int

    @property
    def padded(self) -> int:
        """Embedding rows in llava-hf: all tokens, rounded up to 64."""
        return -(-(self.pad + 1) // 64) * 64


_FLAGS = ("lstrip", "normalized", "rstrip", "single_word")


def _special(text: str) -> AddedToken:
    return AddedToken(text, normalized=False, special=True)


def _sentencepiece_file() -> Path:
    package = importlib.util.find_spec("mistral_common")
    if package is None or not package.submodule_search_locations:
        raise RuntimeError("the 32000 pieces come from mistral_common: pip install mistral_common")
    return Path(package.submodule_search_locations[0]) / "data" / "tokenizer.model.v1"


@lru_cache(maxsize=1)
def _pieces_and_merges() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Read the pieces' ids, and derive merges from their scores."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(_sentencepiece_file()))
    vocab = {model.id_to_piece(i): i for i in range(model.vocab_size())}
    words = {
        piece: model.get_score(i)
        for piece, i in vocab.items()
        if not (model.is_byte(i) or model.is_control(i) or model.is_unknown(i))
    }
    ranked = []
    for piece, score in words.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in words and right in words:
                ranked.append((-score, -cut, left, right))  # runs of spaces tie: prefer the longer left part
    return vocab, [(left, right) for _, _, left, right in sorted(ranked)]


def _llama_style(family: Family) -> Tokenizer:
    vocab, merges = _pieces_and_merges()
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    spaces = normalizers.Replace(" ", SPACE)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if family.prefix_space:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces])
        steps.append(decoders.Strip(" ", 1, 0))
    else:
        tokenizer.normalizer = normalizers.Sequence([spaces])
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([_special(t) for t in ("<unk>", "<s>", "</s>")])
    return tokenizer


@lru_cache(maxsize=2)
def _byte_level_json(words: str) -> str:
    from pydoc_data.topics import topics

    tokenizer = Tokenizer(models.BPE())
    if words == QWEN_WORDS:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=BYTE_LEVEL_PIECES,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([topics[name] for name in sorted(topics)], trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer.to_str()


def build(name: str, *, with_image: bool = True) -> tuple[Tokenizer, Ids]:
    """Build a family's tokenizer. The original layout lacks <image> and <pad>."""
    family = FAMILIES[name]
    if family.words:
        tokenizer = Tokenizer.from_str(_byte_level_json(family.words))
    else:
        tokenizer = _llama_style(family)
    tokenizer.add_special_tokens([_special(text) for text in family.own_specials])
    pieces = tokenizer.get_vocab_size()
    if with_image:
        tokenizer.add_special_tokens([_special(IMAGE), _special(PAD)])
    if family.adds_bos:
        bos = (family.bos, tokenizer.token_to_id(family.bos))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos[0]} $A", pair=f"{bos[0]} $A {bos[0]} $B", special_tokens=[bos]
        )
    bos_id = tokenizer.token_to_id(family.bos) if family.bos else None
    return tokenizer, Ids(pieces, pieces, pieces + 1, bos_id, tokenizer.token_to_id(family.eos))


def _message(field: int, payload: bytes) -> bytes:
    return bytes([field << 3 | 2, len(payload)]) + payload  # lengths below 128 are one byte


def _write_sentencepiece(path: Path, family: Family) -> None:
    """Write tokenizer.model; yi's has its own marks and prepends no space.

    Protocol buffers can be extended by appending: repeated fields grow, single messages merge.
    """
    shutil.copyfile(_sentencepiece_file(), path)
    tail = b""
    for text in family.own_specials:
        piece = _message(1, text.encode()) + b"\x15" + struct.pack("<f", 0.0) + b"\x18\x04"
        tail += _message(1, piece)
    if not family.prefix_space:
        tail += _message(3, b"\x18\x00")
    with path.open("ab") as file:
        file.write(tail)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(folder: Path, name: str, *, layout: str) -> Ids:
    """Write the tokenizer files found in the family's repositories of this layout."""
    family, hf = FAMILIES[name], layout == "hf"
    tokenizer, ids = build(name, with_image=hf)
    if hf or family.words:
        tokenizer.save(str(folder / "tokenizer.json"))
    if not family.words:
        _write_sentencepiece(folder / "tokenizer.model", family)

    unk = None if family.words else "<unk>"
    pad = PAD if hf else unk or family.own_specials[0]
    named = {"bos_token": family.bos, "eos_token": family.eos, "unk_token": unk, "pad_token": pad}
    config = {
        "add_bos_token": family.adds_bos,
        "add_eos_token": False,
        "added_tokens_decoder": {
            str(i): {"content": token.content, "special": True, **dict.fromkeys(_FLAGS, False)}
            for i, token in sorted(tokenizer.get_added_tokens_decoder().items())
        },
        "clean_up_tokenization_spaces": False,
        "model_max_length": family.max_length,
        "padding_side": "left" if hf else "right",
        "tokenizer_class": family.tokenizer_class,
        **named,
    }
    if not family.words:
        config |= {"legacy": False, "sp_model_kwargs": {}, "use_default_system_prompt": False}
    if hf:
        config["extra_special_tokens"] = {"image_token": IMAGE}
        config["processor_class"] = "LlavaNextProcessor"
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", {k: v for k, v in named.items() if v})
    return ids
