"""A model directory's vocabulary holds every token of its tokenizer; the weights are unchanged."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from examples.random_checkpoint import SMALL, write_checkpoint
from examples.random_tokenizers import FAMILIES
from sfllava_plugin.checkpoints.formats import CheckpointError
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.registry import Entry

#: (rows of the weights, vocabulary): 32000 or 2000 pieces and the family's own special tokens; then with <image>, and
#: rounded up to a multiple of 64.
ORIGINAL = {
    "vicuna": (32000, 32064),
    "mistral": (32000, 32064),
    "yi": (32002, 32064),
    "llama3": (2005, 2048),
    "qwen": (2003, 2048),
}


def prepared(folder: Path) -> Path:
    return prepare(Entry(name="tested", checkpoint=str(folder), prompts="vicuna"))


def sizes(directory: Path) -> tuple[int, int]:
    config = json.loads((directory / "config.json").read_text())
    return config["sfllava"]["trained_vocab_size"], config["text_config"]["vocab_size"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_original_format_gets_room_for_the_marker(tmp_path, family):
    write_checkpoint(tmp_path, layout="original", family=family, geometry=SMALL)
    directory = prepared(tmp_path)
    assert sizes(directory) == ORIGINAL[family]
    assert max(AutoTokenizer.from_pretrained(directory).get_vocab().values()) < ORIGINAL[family][1]


def test_a_vocabulary_with_room_is_unchanged(small_hf):
    assert sizes(prepared(small_hf)) == (32064, 32064)


@pytest.fixture
def change(small_original, tmp_path):
    """change(function): prepare a checkpoint whose weights the function has changed."""

    def write(function) -> Path:
        folder = shutil.copytree(small_original, tmp_path / "changed")
        weights = load_file(folder / "model.safetensors")
        function(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return prepared(folder)

    return write


def pack(weights, name):
    weights[f"{name}.qweight"] = weights.pop(f"{name}.weight").to(torch.int8)


def scale(weights, name):
    weights[f"{name}.weight"] = weights[f"{name}.weight"].to(torch.float8_e4m3fn)


@pytest.mark.parametrize("quantise", [pack, scale])
@pytest.mark.parametrize("name", ["lm_head", "model.embed_tokens"])
def test_quantised_rows_are_refused_by_name(change, name, quantise):
    with pytest.raises(CheckpointError, match=rf"changed: {name}\.q?weight is quantised") as refused:
        change(lambda weights: quantise(weights, name))
    assert "\n" not in str(refused.value)


def test_a_head_tied_to_the_embedding_is_extended(change):
    assert sizes(change(lambda weights: weights.pop("lm_head.weight"))) == (32000, 32064)
