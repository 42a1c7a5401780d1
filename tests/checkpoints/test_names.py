"""Every registered name: the tokens counted are those made, and those that registry.yaml says."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sfllava_plugin import registry
from sfllava_plugin.checkpoints.families import FAMILIES, find
from sfllava_plugin.checkpoints.formats import read_json
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.checkpoints.video_config import KEY, VideoConfig
from tests.named_checkpoints import NamedCheckpoints, entries, pattern_of

NAMES = tuple(entries())


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return NamedCheckpoints(tmp_path_factory.mktemp("named"))


def stated(name: str) -> set[int]:
    """The numbers in the comment above an entry."""
    above = registry.packaged_file().read_text(encoding="utf-8").partition(f"\n  {name}:\n")[0]
    comments = re.findall(r"(?:^ *#.*\n?)+", above, re.MULTILINE)
    return {int(number) for number in re.findall(r"\d+", comments[-1])}


@pytest.mark.parametrize("name", NAMES)
def test_the_tokens_counted_are_those_made_and_those_the_registry_says(named, tmp_path, name):
    directory = prepare(named.entry(name), tmp_path / "model")
    own = SimpleNamespace(**{KEY: read_json(directory / "config.json")[KEY]})
    config = VideoConfig.read(own, directory)
    layout, geometry, count = config.layout, config.geometry, config.tokens(config.frames)
    assert count in stated(name)
    assert config.frames == entries()[name].frames
    assert geometry.rows == {"clip": 24, "siglip": 27}[geometry.tower] or name == "sf-llava-tiny"
    # A layout may show the tower fewer pictures than the video has frames.
    shown = len(layout.compose(torch.zeros(config.frames, 2, 2, 3, dtype=torch.uint8).numpy()))
    chunks = (torch.rand(1, geometry.patches, 4) for _ in range(shown))
    extra = {weight: torch.rand(4) for weight in config.extra_weights}
    made = layout.tokens(chunks, config.frames, geometry, lambda features: features, extra)
    assert made.shape == (count, 4)


def test_the_random_checkpoints_are_of_every_family_and_format(named):
    found = {(family.name, form) for family, form in (find(Path(named.entry(name).checkpoint)) for name in NAMES)}
    assert {family for family, _ in found} == {family.name for family in FAMILIES}
    for name, entry in entries().items():
        assert entry.format in (None, find(Path(named.entry(name).checkpoint))[1])
    assert {form for _, form in found} == {"hf", "original"}


def test_a_name_without_a_random_checkpoint_is_an_error():
    entry = entries()["sf-llava-7b"].model_copy(update={"checkpoint": "someone/something-new"})
    with pytest.raises(ValueError, match="no random checkpoint is like someone/something-new"):
        pattern_of(entry)
