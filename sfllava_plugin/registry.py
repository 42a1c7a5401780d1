"""Read registry.yaml and the user's own file: models by name, as validated, immutable entries, and limits.

The environment variable ``SFLLAVA_REGISTRY`` names the user's file. Its models win over packaged ones of the same name,
its limits over the defaults. This module opens no checkpoint and does not import vLLM.
"""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from sfllava_plugin.limits import DEFAULTS, Limits
from sfllava_plugin.prompts import FAMILIES
from sfllava_plugin.tokens.arrangement import Newline, Order, PoolPlace
from sfllava_plugin.tokens.layout import TokenLayout, parse
from sfllava_plugin.video.fit import FitKind
from sfllava_plugin.video.sampling import Sampling

#: The environment variable for the user's own file.
USER_FILE = "SFLLAVA_REGISTRY"
_PARTS = ("models", "limits")
#: The pathways with which a checkpoint was trained on videos.
NATIVE = "native"
_LINEAR = re.compile(r"linear-([0-9]{1,3}(?:\.[0-9]{1,9})?)")
_UNSCALED = re.compile(r"unscaled-([1-9][0-9]{0,8})")

M = TypeVar("M", bound=BaseModel)


class RegistryError(ValueError):
    """An invalid registry file, or a model in none of them."""


def _family(name: str | None) -> str | None:
    if name is not None and name not in tuple(FAMILIES):
        raise ValueError(f"unknown prompts {name!r}: use one of {', '.join(FAMILIES)}")
    return name


def _name(text: object) -> str:
    # Messages, tables and command lines contain names.
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        raise ValueError(f"{text!r} cannot be a name: use text of printable characters")
    return text


def _pathways(value: Any) -> TokenLayout | str | None:
    return value if value is None or value == NATIVE else parse(value)


def _written(pathways: TokenLayout | str | None) -> str | None:
    return None if pathways is None else str(pathways)


def checked_rope(text: Any) -> str:
    """Return ``checkpoint``, ``linear-FACTOR`` or ``unscaled-POSITIONS`` as it is.

    Raises:
        ValueError: it is none of them.
    """
    if text != "checkpoint" and not (isinstance(text, str) and ((rope_factor(text) or 0) >= 1 or rope_positions(text))):
        known = "checkpoint or linear-FACTOR, as in linear-2, from 1 to 999, or unscaled-POSITIONS"
        raise ValueError(f"unknown rope {text!r}: use {known}")
    return str(text)


def _rope(text: Any) -> str | None:
    return None if text is None else checked_rope(text)


class Entry(BaseModel):
    """One model: a checkpoint and its settings, which registry.yaml explains; None is the checkpoint's own."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: Annotated[str, BeforeValidator(_name)]
    checkpoint: str
    revision: str | None = None
    format: Literal["hf", "original"] | None = None
    frames: int | None = Field(default=None, ge=1, strict=True)
    pathways: Annotated[
        TokenLayout | Literal["native"] | None, BeforeValidator(_pathways), PlainSerializer(_written)
    ] = None
    newline: Newline | None = None
    order: Order | None = None
    pool: PoolPlace | None = None
    sampling: Sampling | None = None
    fit: FitKind | None = None
    rope: Annotated[str | None, BeforeValidator(_rope)] = None
    time_instruction: bool | None = Field(default=None, strict=True)
    max_tiles: int | None = Field(default=None, ge=0, strict=True)
    lora_alpha: float | None = Field(default=None, ge=0, strict=True, allow_inf_nan=False)
    prompts: Annotated[str | None, BeforeValidator(_family)] = None
    max_model_len: int | None = Field(default=None, ge=1, strict=True)
    aliases: tuple[Annotated[str, BeforeValidator(_name)], ...] = ()
    engine: dict[str, Any] = Field(default_factory=dict)


def rope_factor(rope: str) -> float | None:
    """Return FACTOR of ``linear-FACTOR``; None for another."""
    return float(match[1]) if (match := _LINEAR.fullmatch(rope)) else None


def rope_positions(rope: str) -> int | None:
    """Return POSITIONS of ``unscaled-POSITIONS``; None for another."""
    return int(match[1]) if (match := _UNSCALED.fullmatch(rope)) else None


class Registry:
    """Entries by name and alias; a name in ``over`` wins over the same name in ``entries``.

    An entry that ``over`` replaces by name keeps its aliases, which then mean the replacement.
    """

    def __init__(self, entries: dict[str, Entry], over: dict[str, Entry] | None = None, limits: Limits = DEFAULTS):
        self.limits = limits
        every = entries | (over or {})
        owner: dict[str, str] = {}
        for layer in (entries, over or {}):
            owner |= {alias: entry.name for entry in layer.values() for alias in entry.aliases}
            owner |= {name: name for name in layer}
        self._entries = {}
        for name, entry in every.items():
            if owner[name] == name:
                aliases = tuple(alias for alias, owned_by in owner.items() if owned_by == name != alias)
                self._entries[name] = entry.model_copy(update={"aliases": aliases})
        self._by_name = {name: self._entries[owned_by] for name, owned_by in owner.items() if owned_by in self._entries}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def find(self, name: str) -> Entry | None:
        """Return the entry with this name or alias, or None."""
        return self._by_name.get(name)

    def get(self, name: str) -> Entry:
        """Return the entry with this name or alias.

        Raises:
            RegistryError: there is none; the message lists the names.
        """
        if (entry := self.find(name)) is None:
            raise RegistryError(f"unknown model {name!r}: use one of {', '.join(self._by_name)}")
        return entry


def load() -> Registry:
    """Load the packaged registry with the user's entries over it.

    A file is read again once it has changed.

    Raises:
        RegistryError: a file is missing, is not YAML, or is invalid.
    """
    user_file = os.environ.get(USER_FILE)
    return _load(_stamp(packaged_file()), _stamp(Path(user_file).expanduser()) if user_file else None)


def packaged() -> Registry:
    """Load the packaged registry alone, which no user's file can break."""
    return _load(_stamp(packaged_file()), None)


def packaged_file() -> Path:
    """Find registry.yaml: inside an installed package, or at the top of a checkout."""
    inside = Path(__file__).with_name("registry.yaml")
    return inside if inside.exists() else Path(__file__).parent.parent / "registry.yaml"


def _stamp(path: Path) -> tuple[Path, int]:
    try:
        return path, path.stat().st_mtime_ns
    except OSError as error:
        raise RegistryError(f"{path}: no such registry file (named by {USER_FILE})") from error


@cache
def _load(packaged: tuple[Path, int], user: tuple[Path, int] | None) -> Registry:
    entries, _ = _read(packaged[0])
    over, limits = _read(user[0]) if user else (None, DEFAULTS)
    return Registry(entries, over, limits)


def _read(path: Path) -> tuple[dict[str, Entry], Limits]:
    """Read the entries and the limits of one file."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    parts = _parts(path, root)
    limits = _validated(Limits, path, "limits", parts["limits"]) if "limits" in parts else DEFAULTS
    entries: dict[str, Entry] = {}
    owners: dict[str, str] = {}
    for key, node in parts["models"].value if "models" in parts else ():
        name = _name_in(path, key)
        entry = _validated(Entry, path, name, node, name=name)
        if entry.frames and entry.frames > limits.frames:
            line, most = _line(_find(node, ("frames",))), limits.frames
            raise RegistryError(f"{path}, line {line}: {entry.name}: frames: {entry.frames}, the limit is {most}")
        for name in (entry.name, *entry.aliases):
            if name in owners:
                raise RegistryError(
                    f"{path}, line {_line(key)}: the name {name!r} is already taken by {owners[name]!r}"
                )
            owners[name] = entry.name
        entries[entry.name] = entry
    return entries, limits


def _name_in(path: Path, key: yaml.Node) -> str:
    try:
        return _name(key.value)
    except ValueError as error:
        raise RegistryError(f"{path}, line {_line(key)}: {error}") from error


def _parts(path: Path, root: yaml.Node | None) -> dict[str, yaml.MappingNode]:
    """Return the mappings ``models`` and ``limits``; either may be missing."""
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise RegistryError(f"{path}: a registry is a mapping with the keys models and limits, or one of them")
    _check_keys(path, root)
    for key, node in root.value:
        if key.value not in _PARTS:
            raise RegistryError(f"{path}, line {_line(key)}: unknown key {key.value!r}: use {' or '.join(_PARTS)}")
        if not isinstance(node, yaml.MappingNode):
            raise RegistryError(f"{path}, line {_line(key)}: {key.value} must map names to settings")
        _check_keys(path, node)
    return {key.value: node for key, node in root.value}


def _validated(kind: type[M], path: Path, what: str, node: yaml.Node, **known: str) -> M:
    """Validate a mapping as a pydantic model; ``known`` are fields that the mapping does not give."""
    if not isinstance(node, yaml.MappingNode):
        raise RegistryError(f"{path}, line {_line(node)}: {what} must map settings to values")
    _check_keys(path, node)
    try:
        settings = yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = getattr(error, "problem", None) or error
        raise RegistryError(f"{path}, line {_line(node)}: {what}: {problem}") from error
    fields = [field for field in kind.model_fields if field not in known]
    for key, _ in node.value:
        if key.value not in fields:
            message = f"unknown key {key.value!r}: use one of {', '.join(fields)}"
            raise RegistryError(f"{path}, line {_line(key)}: {what}: {message}")
    if isinstance(settings.get("checkpoint"), str):
        settings["checkpoint"] = _checkpoint(path, settings["checkpoint"])
    try:
        return kind.model_validate(settings | known)
    except ValidationError as error:
        problem = error.errors()[0]
        where, message = problem["loc"], problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            message = f"the key {where[0]!r} is missing"
        else:
            message = f"{'.'.join(str(part) for part in where)}: {message}"
        line = _line(_find(node, where))
        raise RegistryError(f"{path}, line {line}: {what}: {message}") from error


def _check_keys(path: Path, node: yaml.MappingNode) -> None:
    # YAML forbids duplicate keys, but PyYAML silently keeps the last; and it allows lists as keys.
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise RegistryError(f"{path}, line {_line(key)}: a key must be a word, not a list or a mapping")
        if key.value in seen:
            raise RegistryError(f"{path}, line {_line(key)}: the key {key.value!r} is there twice")
        seen.add(key.value)


def _checkpoint(path: Path, checkpoint: str) -> str:
    """Resolve a folder relative to the file that names it; anything else is a hub repository."""
    folder = path.resolve().parent / Path(checkpoint).expanduser()
    return str(folder) if folder.is_dir() or checkpoint.startswith((".", "/", "~")) else checkpoint


def _find(node: yaml.Node, where: tuple[int | str, ...]) -> yaml.Node:
    """Find the key at ``where``, a validation error's location, or the nearest node above it."""
    for part in where:
        if isinstance(node, yaml.MappingNode):
            found: list[tuple[yaml.Node, yaml.Node]] = [(key, value) for key, value in node.value if key.value == part]
            if not found:
                return node
            key, node = found[0]
            if not isinstance(node, yaml.CollectionNode):
                return key
    return node


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
