"""The tower's image statistics come from whichever file holds them, and are never guessed."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer, LlavaNextImageProcessorPil, LlavaNextProcessor

from examples.random_checkpoint import SMALL, write_checkpoint
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.registry import Entry

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.1, 0.6]
CLIP = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
FILES = ("preprocessor_config.json", "processor_config.json")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint in each format, for tests that only read."""
    return {
        layout: write_checkpoint(tmp_path_factory.mktemp(layout), layout=layout, family=family, geometry=SMALL)
        for layout, family in (("hf", "qwen"), ("original", "vicuna"))
    }


@pytest.fixture
def folder(written, tmp_path):
    """folder(layout, **files): a copy with these files on image processing, and no others."""

    def copy(layout: str = "hf", **files: dict) -> Path:
        copied = Path(shutil.copytree(written[layout], tmp_path / "copy"))
        for name in FILES:
            (copied / name).unlink(missing_ok=True)
        for name, content in files.items():
            (copied / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        return copied

    return copy


def statistics(folder: Path) -> tuple[list, list]:
    out = prepare(Entry(name="tested", checkpoint=str(folder)))
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    geometry = config["sfllava"]["geometry"]
    return geometry["mean"], geometry["std"]


def test_the_files_that_transformers_saves_today_are_read(folder):
    copied = folder()
    images = LlavaNextImageProcessorPil(image_mean=MEAN, image_std=STD)
    LlavaNextProcessor(images, AutoTokenizer.from_pretrained(copied)).save_pretrained(copied)
    assert [(copied / name).exists() for name in FILES] == [False, True]
    assert statistics(copied) == (MEAN, STD)


GIVEN = {"image_mean": MEAN, "image_std": STD}
# As stored in 32 bits.
ROUNDED = {"image_mean": [0.5, 0.4000000059604645, 0.30000001192092896], "image_std": STD}


@pytest.mark.parametrize(
    "files",
    [
        {"preprocessor_config": GIVEN},
        {"preprocessor_config": {"image_processor": GIVEN}},
        {"processor_config": GIVEN},
        {"processor_config": {"image_processor": GIVEN}},
        {"preprocessor_config": GIVEN, "processor_config": {"image_token": "<image>"}},
        {"preprocessor_config": GIVEN, "processor_config": {"image_processor": ROUNDED}},
        {"preprocessor_config": {"image_mean": MEAN}, "processor_config": {"image_processor": {"image_std": STD}}},
        {"preprocessor_config": GIVEN | {"do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255}},
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", ["hf", "original"])
def test_either_file_may_hold_them(folder, layout, files):
    assert statistics(folder(layout, **files)) == (MEAN, STD)


def test_an_original_checkpoint_without_either_file_gets_its_towers_statistics(folder):
    assert statistics(folder("original")) == CLIP


OTHER = {"image_processor": {"image_mean": MEAN, "image_std": [0.2, 0.1, 0.61]}}
NEITHER = "neither preprocessor_config.json nor processor_config.json has"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, f"{NEITHER} image_mean: add the preprocessor_config.json of the original checkpoint"),
        ({"processor_config": {"image_token": "<image>"}}, f"{NEITHER} image_mean"),
        ({"preprocessor_config": {"image_mean": MEAN}}, f"{NEITHER} image_std"),
        ({"preprocessor_config": {"image_mean": MEAN, "image_std": None}}, f"{NEITHER} image_std"),
        (
            {"preprocessor_config": GIVEN, "processor_config": OTHER},
            r"image_std is \[0.2, 0.1, 0.6\] in preprocessor_config.json and \[0.2, 0.1, 0.61\] in "
            r"processor_config.json \(image_processor\): correct one of them",
        ),
        ({"preprocessor_config": GIVEN | {"image_mean": 0.5}}, "image_mean 0.5 .* must be three numbers"),
        ({"preprocessor_config": GIVEN | {"image_std": [0.2, 0, 0.2]}}, "deviations above 0"),
        ({"preprocessor_config": GIVEN | {"image_mean": ["a", 0, 0]}}, "must be three numbers"),
        (
            {"preprocessor_config": GIVEN | {"do_normalize": False}},
            "image processor's do_normalize is False, and must be True",
        ),
        (
            {"preprocessor_config": GIVEN | {"rescale_factor": 1}},
            "image processor's rescale_factor is 1, and must be 0.0039",
        ),
    ],
)
def test_missing_or_contradictory_statistics_are_refused(folder, files, message):
    with pytest.raises(CheckpointError, match=message):
        statistics(folder(**files))


def test_an_original_checkpoint_with_half_of_them_is_refused(folder):
    with pytest.raises(CheckpointError, match=f"{NEITHER} image_std"):
        statistics(folder("original", preprocessor_config={"image_mean": MEAN}))
