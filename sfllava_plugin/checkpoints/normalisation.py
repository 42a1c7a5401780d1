"""Read the mean and standard deviation of each colour, as used in training.

transformers writes them into preprocessor_config.json, and since version 5 into a section of processor_config.json.
Original repositories have neither file; their config.json names the tower, whose statistics are known.
"""

import math
from pathlib import Path
from typing import Any

from sfllava_plugin.checkpoints.formats import read_json
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.tokens.geometry import Colours

#: Mean and standard deviation.
Statistics = tuple[Colours, Colours]

_FILES = ("preprocessor_config.json", "processor_config.json")
_SECTION = "image_processor"
_MEAN, _STD = "image_mean", "image_std"
#: Pixels reach the tower as (value / 255 - mean) / std.
_STEPS = {"do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}


def read_statistics(folder: Path, stock: Statistics | None = None) -> Statistics:
    """Read the mean and the standard deviation of each colour.

    Args:
        stock: the statistics of the tower named in config.json, for repositories with neither file.

    Raises:
        CheckpointError: they are missing or invalid, two files disagree, or pixels are scaled in another way.
    """
    sections = _sections(folder)
    for key, value in _STEPS.items():
        found = _agreed(folder, sections, key)
        if found is not None and not _alike(found, value):
            raise CheckpointError(f"{folder}: the image processor's {key} is {found!r}, and must be {value!r}")
    mean, std = (_agreed(folder, sections, key) for key in (_MEAN, _STD))
    if mean is None and std is None and stock:
        return stock
    for key, values in ((_MEAN, mean), (_STD, std)):
        if values is None:
            raise CheckpointError(
                f"{folder}: neither {' nor '.join(_FILES)} has {key}: add the {_FILES[0]} of the original checkpoint"
            )
    means, deviations = _three_numbers(mean), _three_numbers(std)
    if means is None or deviations is None or min(deviations) <= 0:
        raise CheckpointError(
            f"{folder}: {_MEAN} {mean!r} and {_STD} {std!r} must be three numbers each, deviations above 0"
        )
    return means, deviations


def _sections(folder: Path) -> dict[str, dict[str, Any]]:
    """Collect every section that may describe images, by the name of its file."""
    roots = {name: read_json(folder / name) for name in _FILES if (folder / name).exists()}
    nested = {f"{name} ({_SECTION})": root.get(_SECTION) for name, root in roots.items()}
    return roots | {name: section for name, section in nested.items() if isinstance(section, dict)}


def _agreed(folder: Path, sections: dict[str, dict[str, Any]], key: str) -> Any:
    """Return the value that all sections with ``key`` agree on, or None."""
    found = {name: section[key] for name, section in sections.items() if section.get(key) is not None}
    for name, value in found.items():
        first = next(iter(found))
        if not _alike(value, found[first]):
            raise CheckpointError(
                f"{folder}: {key} is {found[first]!r} in {first} and {value!r} in {name}: correct one of them"
            )
    return next(iter(found.values()), None)


def _alike(one: object, other: object) -> bool:
    """Compare values, ignoring what a number loses when stored in 32 bits."""
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
