"""The mean and standard deviation of each colour, as a checkpoint's tower was trained.

transformers writes them into preprocessor_config.json, and since version 5 into a section of processor_config.json.
Original repositories have neither file: their config.json names the tower, and the tower has its statistics.
"""

import math
from pathlib import Path
from typing import Any

from sfllava_plugin.checkpoints.formats import read_json
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.tokens.geometry import Colours

#: The mean and the standard deviation.
Statistics = tuple[Colours, Colours]

_FILES = ("preprocessor_config.json", "processor_config.json")
_SECTION = "image_processor"
_MEAN, _STD = "image_mean", "image_std"
#: Pixels reach the tower as (value / 255 - mean) / std.
_STEPS = {"do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}


def read_statistics(folder: Path, stock: Statistics | None = None) -> Statistics:
    """Read the mean and the standard deviation of each colour.

    Args:
        stock: those of the tower that config.json names, for repositories with neither file.

    Raises:
        CheckpointError: nothing names them, two files disagree, or they are used in another way.
    """
    sections = _sections(folder)
    for key, value in _STEPS.items():
        found = _agreed(folder, sections, key)
        if found is not None and not _alike(found, value):
            raise CheckpointError(f"{folder}: {key} of its images is {found!r}, SlowFast-LLaVA needs {value!r}")
    mean, std = (_agreed(folder, sections, key) for key in (_MEAN, _STD))
    if mean is None and std is None and stock:
        return stock
    for key, values in ((_MEAN, mean), (_STD, std)):
        if values is None:
            raise CheckpointError(
                f"{folder}: neither {' nor '.join(_FILES)} says {key}: add {_FILES[0]} from the checkpoint's origin"
            )
    means, deviations = _three_numbers(mean), _three_numbers(std)
    if means is None or deviations is None or min(deviations) <= 0:
        raise CheckpointError(
            f"{folder}: {_MEAN} {mean!r} and {_STD} {std!r} must be three numbers each, deviations above 0"
        )
    return means, deviations


def _sections(folder: Path) -> dict[str, dict[str, Any]]:
    """Every place that may speak of images, by the name of its file."""
    roots = {name: read_json(folder / name) for name in _FILES if (folder / name).exists()}
    nested = {f"{name} ({_SECTION})": root.get(_SECTION) for name, root in roots.items()}
    return roots | {name: section for name, section in nested.items() if isinstance(section, dict)}


def _agreed(folder: Path, sections: dict[str, dict[str, Any]], key: str) -> Any:
    """What all sections that name ``key`` say, or None."""
    said = {name: section[key] for name, section in sections.items() if section.get(key) is not None}
    for name, value in said.items():
        first = next(iter(said))
        if not _alike(value, said[first]):
            raise CheckpointError(
                f"{folder}: {key} is {said[first]!r} in {first} and {value!r} in {name}: correct one of them"
            )
    return next(iter(said.values()), None)


def _alike(one: object, other: object) -> bool:
    """Equal, but for what a number loses when it is stored in 32 bits."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other


def _three_numbers(values: object) -> Colours | None:
    if not isinstance(values, list) or len(values) != 3:
        return None
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        return None
    red, green, blue = values
    return red, green, blue
