"""The two towers: their last layers, their sizes, and statistics that are never assumed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sfllava_plugin.checkpoints.families.tower_shapes import vision_config
from sfllava_plugin.checkpoints.families.towers import SIGLIP
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.registry import Entry
from tests.reference_family import checkpoints, sizes

STATISTICS = "neither preprocessor_config.json nor processor_config.json has image_mean"


def config_of(folder: Path) -> dict:
    out = prepare(Entry(name="tested", checkpoint=str(folder)))
    return json.loads((out / "config.json").read_text(encoding="utf-8"))


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """deep(kind, layers): a checkpoint whose tower has so many layers in its files."""
    own = sizes.tower

    def write(kind: str, layers: int) -> Path:
        monkeypatch.setattr(sizes, "tower", lambda *size: replace(own(*size), layers=layers))
        return checkpoints.write(tmp_path / f"{kind}-{layers}", kind, image_size=384 if kind in sizes.ORIGINAL else 98)

    return write


@pytest.mark.parametrize(("layers", "read"), [(26, -1), (27, -2)])
@pytest.mark.parametrize("kind", ["onevision-original", "llava-video"])
def test_the_program_never_runs_the_27th_siglip_layer(deep, kind, layers, read):
    """Its config.json says -2 of 27 layers; files hold 26 or 27, and the 26th is read."""
    config = config_of(deep(kind, layers))
    assert config["vision_config"]["num_hidden_layers"] == layers
    assert config["sfllava"]["geometry"]["feature_layer"] == read


@pytest.mark.parametrize("layers", [26, 27])
def test_an_hf_checkpoint_is_read_where_its_configuration_says(deep, layers):
    config = config_of(deep("onevision", layers))
    assert config["vision_config"]["num_hidden_layers"] == layers
    assert config["sfllava"]["geometry"]["feature_layer"] == config["vision_feature_layer"] == -1


@pytest.mark.parametrize("kind", ["onevision-original", "llava-video"])
def test_an_original_siglip_tower_is_no_clip(checkpoint, kind):
    """384 pixels for 27 x 27 patches of 14, heads of 72, and a width that is no multiple of 64."""
    config = config_of(checkpoint(kind, image_size=384))
    tower = config["vision_config"]
    assert (tower["model_type"], tower["image_size"], tower["patch_size"]) == ("siglip_vision_model", 384, 14)
    assert (tower["hidden_size"], tower["num_attention_heads"], tower["intermediate_size"]) == (144, 2, 538)
    assert config["sfllava"]["geometry"]["std"] == [0.5, 0.5, 0.5]


def test_the_real_siglip_tower(tmp_path):
    """Heads of 64, as CLIP's, would make it 18."""
    names = {
        "embeddings.patch_embedding.weight": (1152, 3, 14, 14),
        "embeddings.position_embedding.weight": (729, 1152),
        "encoder.layers.0.mlp.fc1.weight": (4304, 1152),
        "encoder.layers.25.mlp.fc1.weight": (1, 1),
    }
    # Only the shapes are read.
    weights = {
        f"model.vision_tower.vision_tower.vision_model.{name}": torch.zeros(shape, dtype=torch.uint8)
        for name, shape in names.items()
    }
    save_file(weights, tmp_path / "model.safetensors")
    found = vision_config(tmp_path, SIGLIP)
    assert (found.hidden_size, found.num_attention_heads, found.intermediate_size) == (1152, 16, 4304)
    assert (found.image_size, found.patch_size, found.num_hidden_layers) == (384, 14, 26)


def test_a_siglip_tower_of_another_size_is_refused(checkpoint):
    with pytest.raises(
        CheckpointError, match="its tower has 49 positions, siglip-so400m-patch14-384 has 27x27 patches"
    ):
        config_of(checkpoint("llava-video"))


@pytest.mark.parametrize("kind", ["llava-1.5", "llava-next", "next-video", "onevision"])
@pytest.mark.parametrize("content", [None, {"do_normalize": True, "image_processor_type": "CLIPImageProcessor"}])
def test_hf_statistics_that_are_missing_are_refused(checkpoint, tmp_path, kind, content):
    """The image processors of transformers have CLIP's by default, OneVision's too."""
    folder = Path(shutil.copytree(checkpoint(kind), tmp_path / "copy"))
    (folder / "preprocessor_config.json").unlink()
    if content:
        (folder / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match=STATISTICS) as raised:
        config_of(folder)
    assert "\n" not in str(raised.value)


def test_an_original_siglip_checkpoint_may_bring_its_own(checkpoint, tmp_path):
    folder = Path(shutil.copytree(checkpoint("llava-video", image_size=384), tmp_path / "copy"))
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3]}), encoding="utf-8")
    geometry = config_of(folder)["sfllava"]["geometry"]
    assert (geometry["mean"], geometry["std"]) == ([0.4, 0.5, 0.6], [0.1, 0.2, 0.3])
    path.write_text(json.dumps({"image_mean": [0.4, 0.5, 0.6]}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="has image_std: add"):
        config_of(folder)
