"""From any LLaVA-NeXT checkpoint to a model directory that vLLM loads as it is.

A model directory holds the configuration with our architecture and the pathways, the chat template with the prompt
frames, a file that names our video loader, greedy generation defaults, and links to the untouched weights and
tokenizer. It is written aside and renamed, so that preparing twice, or in two processes at once, is safe.

This module writes those directories. It does not know vLLM; engine/ reads what is written here.
"""

import hashlib
import os
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path
from transformers import LlavaNextConfig, PreTrainedTokenizerBase

from sfllava_plugin import prompts, registry
from sfllava_plugin.checkpoints import json_files, vocabulary
from sfllava_plugin.checkpoints import tokenizer as tokenizer_files
from sfllava_plugin.checkpoints.formats import find_layout, read_config, read_json, weight_files
from sfllava_plugin.checkpoints.hub import checkpoint_folder, entry_of
from sfllava_plugin.checkpoints.normalisation import read_normalisation
from sfllava_plugin.checkpoints.prepared import (
    ARCHITECTURE,
    CHAT_TEMPLATE,
    MANIFEST,
    VIDEO_PROCESSOR,
    CheckpointError,
    is_prepared,
)
from sfllava_plugin.registry import Entry
from sfllava_plugin.tokens import notation

_CACHE_VARIABLE = "SFLLAVA_CACHE"
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>")


@dataclass(frozen=True)
class _Source:
    """A checkpoint on disk, and the settings it is prepared with."""

    entry: Entry
    folder: Path
    layout: str


def model_directory(model: str) -> Path:
    """The model directory of an alias, a model directory, a checkpoint folder or a hub repository.

    Raises:
        CheckpointError, RegistryError: it is none of these, or cannot be prepared.
    """
    if is_prepared(model) and registry.load().find(model) is None:
        return Path(model)
    return prepare(entry_of(model))


def prepare(entry: Entry, out: str | os.PathLike | None = None) -> Path:
    """Write the model directory of ``entry``, or find it written already.

    Args:
        entry: the checkpoint and its settings.
        out: where; by default in the user's cache, under a name that changes with everything that goes in.

    Raises:
        CheckpointError: the checkpoint is neither on disk nor reachable, or not LLaVA-NeXT shaped.
    """
    folder = checkpoint_folder(entry)
    if is_prepared(folder):
        raise CheckpointError(f"{folder}: is a model directory already; name the checkpoint it was made from")
    source = _Source(entry, folder, find_layout(folder, entry.layout))
    directory = Path(out) if out else cache_folder() / f"{_short_name(entry)}-{_digest(source)}"
    if out is None and is_prepared(directory) and _links_hold(directory):
        return directory
    if directory.exists() and not is_prepared(directory) and any(directory.iterdir()):
        raise CheckpointError(f"{directory}: holds other files; give an empty or a new folder")
    try:
        with _aside(directory) as aside:
            _write(source, aside)
            _put_in_place(aside, directory, replace=out is not None)
    except OSError as error:
        remedy = "give another folder" if out else f"name another folder with {_CACHE_VARIABLE}"
        raise CheckpointError(f"{directory}: cannot be written: {error.strerror}; {remedy}") from error
    return directory


def cache_folder() -> Path:
    """Where model directories are kept: the variable SFLLAVA_CACHE, or the user's cache."""
    return Path(os.environ.get(_CACHE_VARIABLE) or user_cache_path("sfllava")).expanduser() / "models"


def _write(source: _Source, out: Path) -> None:
    tokenizer_files.write(source.folder, out)
    tokenizer = tokenizer_files.load(out)
    image_token_id = tokenizer.convert_tokens_to_ids(prompts.VIDEO_MARKER)
    config = read_config(source.folder, source.layout, image_token_id)
    vocabulary.extend(config, source.folder, max(tokenizer.get_vocab().values()))
    context = _context(source.entry, config)
    config.architectures = [ARCHITECTURE]
    config.slowfast_frames = source.entry.frames
    config.slowfast_pathways = str(source.entry.pathways)
    config.slowfast_image_mean, config.slowfast_image_std = read_normalisation(source.folder, source.layout)
    family = source.entry.prompts or _family(config, tokenizer)
    template = prompts.chat_template(
        family,
        special_tokens=tokenizer_files.special_tokens(tokenizer),
        bos_token=tokenizer_files.leading_token(tokenizer),
        own_template=_own_template(source.folder),
    )
    json_files.write(out / "config.json", config.to_dict())
    json_files.write(out / "generation_config.json", _generation(source.folder, config, tokenizer))
    json_files.write(out / "video_preprocessor_config.json", {"video_processor_type": VIDEO_PROCESSOR})
    (out / CHAT_TEMPLATE).write_text(template, encoding="utf-8")
    for path in weight_files(source.folder):
        (out / path.name).symlink_to(path.absolute())
    json_files.link_others(source.folder, out)
    # Last: with it the folder counts as complete.
    json_files.write(
        out / MANIFEST,
        {
            "name": source.entry.name,
            "checkpoint": source.entry.checkpoint,
            "revision": source.entry.revision,
            "layout": source.layout,
            "prompts": family,
            "engine": {"max_model_len": context} | source.entry.engine,
        },
    )


def _context(entry: Entry, config: LlavaNextConfig) -> int:
    """Tokens of prompt and answer; refuses frames and pathways that leave none for a question."""
    trained = config.text_config.max_position_embeddings
    context = min(entry.max_model_len or trained, trained)
    grid = config.vision_config.image_size // config.vision_config.patch_size
    notation.check(entry.pathways, grid)
    tokens = notation.token_count(entry.frames, entry.pathways, grid)
    if tokens >= context:
        raise CheckpointError(
            f"{entry.name}: {entry.frames} frames through {entry.pathways} take {tokens} tokens, and the model reads "
            f"{context}: take fewer frames or a coarser pathway"
        )
    return context


def _family(config: LlavaNextConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    """The prompt family of a checkpoint that nobody named one for."""
    vocabulary = tokenizer.get_vocab()
    text_model = config.text_config.model_type
    if text_model in ("mistral", "qwen2"):
        return {"mistral": "mistral", "qwen2": "qwen"}[text_model]
    if "<|start_header_id|>" in vocabulary:
        return "llama3"
    return "yi" if "<|im_start|>" in vocabulary else "vicuna"


def _own_template(folder: Path) -> str | None:
    """The checkpoint's own chat template, from whichever of its files holds it."""
    if (path := folder / "chat_template.jinja").exists():
        return path.read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        if (folder / name).exists():
            template = read_json(folder / name).get("chat_template")
            if isinstance(template, str):
                return template
    return None


def _generation(folder: Path, config: LlavaNextConfig, tokenizer: PreTrainedTokenizerBase) -> dict:
    """Greedy, as the paper's evaluation; stops at the end of the text or of the assistant's turn."""
    path = folder / "generation_config.json"
    own = read_json(path) if path.exists() else {}
    ends = own.get("eos_token_id", config.text_config.eos_token_id)
    ends = ends if isinstance(ends, list) else [ends, tokenizer.eos_token_id]
    vocabulary = tokenizer.get_vocab()
    ends = [*ends, *(vocabulary[token] for token in _TURN_ENDS if token in vocabulary)]
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": sorted({end for end in ends if end is not None}),
        "pad_token_id": tokenizer.pad_token_id,
        "do_sample": False,
        "temperature": 0.0,
    }


def _short_name(entry: Entry) -> str:
    name = Path(entry.name).name or "model"
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def _digest(source: _Source) -> str:
    """A name for all that decides what a model directory holds."""
    files = sorted(path for path in source.folder.iterdir() if path.is_file())
    parts = [
        source.entry.model_dump_json(),
        str(source.folder),
        *(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files),
    ]
    digest = hashlib.sha256("\n".join(parts).encode())
    for path in sorted(_own_files()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _own_files() -> list[Path]:
    """The code and templates that write a model directory: a changed release prepares anew."""
    package = Path(__file__).parent.parent
    parts = ("checkpoints", "prompts", "tokens")
    return [path for part in parts for path in (package / part).rglob("*") if path.suffix in (".py", ".jinja")]


def _links_hold(directory: Path) -> bool:
    return all(path.exists() for path in directory.iterdir())


@contextmanager
def _aside(directory: Path):
    """A new folder beside ``directory``, gone again afterwards unless it was moved."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Not a temporary folder of the library's: the rights are those that the user's umask gives.
    aside = directory.parent / f".{directory.name}-{secrets.token_hex(4)}"
    aside.mkdir()
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put_in_place(aside: Path, directory: Path, replace: bool) -> None:
    """Rename ``aside`` to ``directory``; another process may have come first with the same."""
    try:
        aside.rename(directory)
    except OSError:
        if not replace and is_prepared(directory) and _links_hold(directory):
            return
        with _aside(directory) as retired:
            directory.rename(retired / "old")
            aside.rename(directory)
