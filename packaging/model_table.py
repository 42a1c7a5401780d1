"""The table of models in docs/models.md: registry.yaml's entries, and what checkpoints.yaml says of their weights."""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from sfllava_plugin.checkpoints.families import FAMILIES
from sfllava_plugin.checkpoints.families.family import Family
from sfllava_plugin.checkpoints.formats import read_json
from sfllava_plugin.checkpoints.settings import settle
from sfllava_plugin.registry import Entry, packaged
from sfllava_plugin.tokens import arrangement
from sfllava_plugin.tokens.arrangement import Arrangement
from sfllava_plugin.tokens.base import PooledLayout
from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.layout import TokenLayout

ROOT = Path(__file__).parent.parent
FACTS = Path(__file__).with_name("checkpoints.yaml")
HEADER = ("family", "names", "tower", "frames", "video tokens", "context", "licence", "compared with")


@dataclass(frozen=True)
class Row:
    """One name, in the words of the table."""

    family: str
    name: str
    tower: str
    frames: int
    tokens: str
    context: int
    licence: str
    compared: str


def rows() -> list[tuple[object, ...]]:
    """The cells of the table: family after family, names that differ in nothing else together."""
    families = list(facts())
    table: dict[Row, list[str]] = {}
    for entry in sorted(packaged(), key=lambda entry: families.index(family_of(entry).name)):
        names = [entry.name, *entry.aliases]
        table.setdefault(replace(describe(entry), name=""), []).extend(f"`{name}`" for name in names)
    cells, last = [], None
    for row, names in table.items():
        values = {field.name: getattr(row, field.name) for field in fields(row)} | {"name": ", ".join(names)}
        values["family"] = "" if row.family == last else row.family
        cells.append(tuple(values.values()))
        last = row.family
    return cells


def facts() -> dict[str, dict[str, Any]]:
    """Read checkpoints.yaml: by family, its licences and proofs."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(FACTS.read_text(encoding="utf-8"))
    return found


def family_of(entry: Entry) -> Family:
    """Find the family of an entry's checkpoint.

    Raises:
        LookupError: checkpoints.yaml does not list it.
    """
    for family in FAMILIES:
        if _checkpoint(entry) in facts().get(family.name, {}).get("licences", {}):
            return family
    raise LookupError(f"{FACTS.name} has no licence of {_checkpoint(entry)}, which {entry.name} uses")


def describe(entry: Entry) -> Row:
    """Describe an entry.

    Raises:
        LookupError: checkpoints.yaml lacks its licence, its proof or the positions of its language model.
    """
    family = family_of(entry)
    known = facts()[family.name]
    settings = settle(entry, family.native, family.name)
    layout = settings.pathways.arranged(Arrangement(settings.newline, settings.order, settings.pool))
    image, patch = _sides(entry, family)
    grid = Grid(rows=image // patch, columns=image // patch)
    context = settings.max_model_len or known.get("positions")
    if context is None:
        raise LookupError(f"{FACTS.name} has no positions of {family.name}, and {entry.name} has no max_model_len")
    proof = proof_of(entry)
    return Row(
        family=family.name,
        name=entry.name,
        tower=f"{'CLIP' if family.tower.kind == 'clip' else 'SigLIP'} {image}, {grid.rows} x {grid.columns}",
        frames=settings.frames,
        tokens=written(layout, settings.frames, grid),
        context=context,
        licence=known["licences"][_checkpoint(entry)],
        compared=f"[{', '.join(proof['equals'])}](../{proof['test']})",
    )


def proof_of(entry: Entry) -> dict[str, Any]:
    """Return what an entry's tokens are compared with, and by which test.

    Raises:
        LookupError: checkpoints.yaml does not say.
    """
    kind = str(entry.pathways).partition("-")[0]
    proven: dict[str, dict[str, Any]] = facts()[family_of(entry).name].get("proven", {})
    if kind not in proven:
        raise LookupError(f"{FACTS.name} does not say what proves {kind} of {entry.name}")
    return proven[kind]


def written(layout: TokenLayout, frames: int, grid: Grid) -> str:
    """Write the tokens of a video as a sum of pathways: frames x tokens of each; or the most that it may have.

    Raises:
        ValueError: the sum is not the layout's own count.
    """
    total, ends = layout.count(frames, grid), int(layout.arrangement.newline == "end")
    terms = []
    if not isinstance(layout, PooledLayout):
        return f"at most {total}"
    for part in layout.parts(frames, grid):
        one = arrangement.count([replace(part, frames=(0,))], layout.arrangement) - ends + bool(layout.FRAME_END)
        terms.append((len(part.frames), one))
    if sum(count * one for count, one in terms) + ends != total:
        raise ValueError(f"{layout} has {total} tokens, which {terms} do not make")
    return " + ".join([*(f"{count} x {one}" for count, one in terms), *["1"] * ends]) + f" = {total}"


def _checkpoint(entry: Entry) -> str:
    return entry.checkpoint.removeprefix(f"{ROOT}/")


def _sides(entry: Entry, family: Family) -> tuple[int, int]:
    """The sides of an image and of a patch in pixels: the checkpoint's if it is on disk, or else the stock tower's."""
    if (config := Path(entry.checkpoint) / "config.json").is_file():
        tower = read_json(config)["vision_config"]
        return tower["image_size"], tower["patch_size"]
    patch, image = re.findall(r"\d+", family.tower.stock)[-2:]
    return int(image), int(patch)
