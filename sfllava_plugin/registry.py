"""registry.yaml and the user's second file: every model by name, as validated, immutable entries, and the limits.

A user's file is named by the environment variable ``SFLLAVA_REGISTRY``; a name in it wins over the packaged one, and so
does a limit over its default.

This module knows names and settings. It does not open checkpoints and does not know vLLM.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from sfllava_plugin.limits import DEFAULTS, Limits
from sfllava_plugin.prompts import FAMILIES
from sfllava_plugin.tokens.layout import DEFAULT, TokenLayout, parse

#: Names the user's own registry file.
USER_FILE = "SFLLAVA_REGISTRY"
_PARTS = ("models", "limits")

M = TypeVar("M", bound=BaseModel)


class RegistryError(ValueError):
    """A registry file that cannot be used, or a model that is in none."""


def _family(name: str | None) -> str | None:
    if name is not None and name not in tuple(FAMILIES):
        raise ValueError(f"unknown prompts {name!r}: use one of {', '.join(FAMILIES)}")
    return name


def _name(text: object) -> str:
    """Names stand in messages, tables and command lines."""
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        raise ValueError(f"{text!r} cannot be a name: use text of printable characters")
    return text


class Entry(BaseModel):
    """One model: a checkpoint and how SlowFast-LLaVA is set up on it. Fields are explained in registry.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: Annotated[str, BeforeValidator(_name)]
    checkpoint: str
    revision: str | None = None
    format: Literal["hf", "original"] | None = None
    frames: int = Field(default=50, ge=1, strict=True)
    pathways: Annotated[
        TokenLayout,
        BeforeValidator(parse),
        PlainSerializer(str),
    ] = DEFAULT
    prompts: Annotated[str | None, BeforeValidator(_family)] = None
    max_model_len: int | None = Field(default=4096, ge=1, strict=True)
    aliases: tuple[Annotated[str, BeforeValidator(_name)], ...] = ()
    engine: dict[str, Any] = Field(default_factory=dict)


class Registry:
    """Entries by name and alias; a name in ``over`` wins over the same name in ``entries``.

    An alias of an entry that ``over`` replaces stays with its name.
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
        """The entry with this name or alias, or None."""
        return self._by_name.get(name)

    def get(self, name: str) -> Entry:
        """The entry with this name or alias.

        Raises:
            RegistryError: there is none; the message lists what there is.
        """
        if (entry := self.find(name)) is None:
            raise RegistryError(f"unknown model {name!r}: use one of {', '.join(self._by_name)}")
        return entry


def load() -> Registry:
    """The packaged registry with the user's entries over it.

    Raises:
        RegistryError: a file is missing, is not YAML, or holds something that does not belong there.
    """
    user_file = os.environ.get(USER_FILE)
    return _load(_stamp(packaged_file()), _stamp(Path(user_file).expanduser()) if user_file else None)


def packaged() -> Registry:
    """The packaged registry alone: it can be read whatever the user's file holds."""
    return _load(_stamp(packaged_file()), None)


def packaged_file() -> Path:
    """registry.yaml: inside an installed package, or at the top of a checkout."""
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
    """The entries and the limits in a file."""
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
        if entry.frames > limits.frames:
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
    """A key of ``models`` as a name."""
    try:
        return _name(key.value)
    except ValueError as error:
        raise RegistryError(f"{path}, line {_line(key)}: {error}") from error


def _parts(path: Path, root: yaml.Node | None) -> dict[str, yaml.MappingNode]:
    """The mappings ``models`` and ``limits``, as far as they are there."""
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
    """What a mapping says, as a model of pydantic's; ``known`` is what else belongs to it."""
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
    """YAML forbids a key twice in one mapping, PyYAML keeps the last in silence; and lists can be keys of a mapping."""
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise RegistryError(f"{path}, line {_line(key)}: a key must be a word, not a list or a mapping")
        if key.value in seen:
            raise RegistryError(f"{path}, line {_line(key)}: the key {key.value!r} is there twice")
        seen.add(key.value)


def _checkpoint(path: Path, checkpoint: str) -> str:
    """A folder is meant relative to the file that names it; anything else is a hub repository."""
    folder = path.resolve().parent / Path(checkpoint).expanduser()
    return str(folder) if folder.is_dir() or checkpoint.startswith((".", "/", "~")) else checkpoint


def _find(node: yaml.Node, where: tuple) -> yaml.Node:
    """The key that a validation error speaks of, or the nearest node above it."""
    for part in where:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
            if not found:
                return node
            key, node = found[0]
            if not isinstance(node, yaml.CollectionNode):
                return key
    return node


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
