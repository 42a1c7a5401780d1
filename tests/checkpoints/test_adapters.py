"""PLLaVA's adapters are merged when a model directory is written, or refused by name."""

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sfllava_plugin.checkpoints import adapters
from sfllava_plugin.checkpoints.families import find
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.registry import Entry, packaged
from tests.reference_family import checkpoints, pllava

TINY = 84
WRAPPED, PLAIN = "language_model.base_model.model.", "language_model."
LAYER = f"{WRAPPED}model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A PLLaVA checkpoint in three shards, for tests that only read."""
    return pllava.write(tmp_path_factory.mktemp("pllava") / "checkpoint", image_size=TINY)


@pytest.fixture
def own(tmp_path) -> Path:
    """Another, for the test to change."""
    return pllava.write(tmp_path / "checkpoint", image_size=TINY)


def entry(folder: Path, **settings) -> Entry:
    return Entry(name="tested", checkpoint=str(folder), **settings)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return all weights, under the names without PEFT's wrapper."""
    files = sorted(folder.glob("*.safetensors"))
    return {name.replace(WRAPPED, PLAIN): tensor for file in files for name, tensor in load_file(file).items()}


def resave(folder: Path, change) -> None:
    """Write the shards again after change(name, tensor) -> name, tensor, or None to drop it."""
    shards = [load_file(file) for file in sorted(folder.glob("*.safetensors"))]
    changed = [[change(name, tensor) for name, tensor in shard.items()] for shard in shards]
    pllava.save_shards(folder, [dict(pair for pair in shard if pair) for shard in changed])


@pytest.mark.parametrize("alpha", [None, 0, 4, 32, 6.5])
def test_merged_weights_equal_a_plain_recomputation(written, tmp_path, alpha):
    out = prepare(entry(written, lora_alpha=alpha), tmp_path / "model")
    expected, found = pllava.merged(written, 4 if alpha is None else alpha), weights(out)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        adapted = name.endswith(("q_proj.weight", "v_proj.weight")) and name.startswith(PLAIN)
        assert torch.allclose(found[name], weight, atol=1e-5, rtol=0) if adapted else torch.equal(found[name], weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_sum_is_taken_in_float32_and_rounded_once(tmp_path, dtype):
    folder = pllava.write(tmp_path / "checkpoint", image_size=TINY, dtype=dtype)
    expected, found = pllava.merged(folder, 4), weights(prepare(entry(folder), tmp_path / "model"))
    for name, weight in expected.items():
        assert found[name].dtype == dtype
        # Two orders of adding in float32 may round a few halves differently.
        assert (found[name] != weight.to(dtype)).float().mean() < 1e-2
        assert torch.allclose(found[name].float(), weight, atol=1e-7, rtol=2**-7)


def test_shards_without_adapters_are_links_and_the_index_is_rewritten(written, tmp_path):
    out = prepare(entry(written), tmp_path / "model")
    files = sorted(out.glob("*.safetensors"))
    assert [file.is_symlink() for file in files] == [True, False, False]
    index = json.loads((out / "model.safetensors.index.json").read_text(encoding="utf-8"))
    held, size = {}, 0
    for file in files:
        with safe_open(file, framework="pt") as opened:
            assert opened.metadata() == {"format": "pt"}
            held |= dict.fromkeys(opened.keys(), file.name)
            size += sum(opened.get_tensor(name).nbytes for name in opened.keys())  # noqa: SIM118
    assert index == {"metadata": {"total_size": size}, "weight_map": held}
    assert not [name for name in held if "lora" in name or "base_layer" in name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".default.", ".another."),  # an adapter of another name
        (".default.", "."),  # the names of a saved adapter
        (".base_layer.", "."),  # the names before PEFT 0.6
        (".v_proj.", ".o_proj2."),  # another layer
    ],
)
def test_other_names_of_the_same_arithmetic_are_merged(own, tmp_path, old, new):
    expected = {name.replace(old, new): weight for name, weight in pllava.merged(own, 4).items()}
    resave(own, lambda name, tensor: (name.replace(old, new) if WRAPPED in name else name, tensor))
    found = weights(prepare(entry(own), tmp_path / "model"))
    for name in (name for name in expected if name.startswith(PLAIN)):
        assert torch.allclose(found[name], expected[name], atol=1e-5, rtol=0)


def test_another_rank_divides_alpha(tmp_path):
    folder = pllava.write(tmp_path / "checkpoint", image_size=TINY, rank=16)
    expected, found = pllava.merged(folder, 4), weights(prepare(entry(folder), tmp_path / "model"))
    assert all(torch.allclose(found[name], weight, atol=1e-5, rtol=0) for name, weight in expected.items())


def test_a_merged_checkpoint_is_linked_and_has_no_alpha(own, tmp_path):
    resave(
        own,
        lambda name, tensor: None if "lora_" in name else (name.replace(".base_layer", ""), tensor),
    )
    out = prepare(entry(own), tmp_path / "model")
    assert all(file.is_symlink() for file in out.glob("*.safetensors"))
    with pytest.raises(CheckpointError, match=r"tested: lora_alpha weighs adapters, and .* has none: leave it out"):
        prepare(entry(own, lora_alpha=4), tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_B.default.weight": "lora_magnitude_vector.default.weight"}, r"lora_magnitude_vector.* no plain LoRA"),
        ({"base_layer.weight": "modules_to_save.default.weight"}, r"modules_to_save\..* no plain LoRA"),
        ({"lora_A.default.weight": "lora_A.default.bias"}, r"lora_A\.default\.bias belongs to no plain LoRA"),
        ({"lora_A.default.weight": "lora_B.second.weight"}, r"q_proj has several adapters"),
        ({"lora_A.default.weight": "other"}, r"q_proj lacks a part of its adapter"),
        ({"base_layer.weight": "other"}, r"q_proj lacks a part of its adapter"),
        (
            {"lora_A.default.weight": "other1", "lora_B.default.weight": "other2"},
            r"q_proj\.base_layer\.weight lacks its adapter",
        ),
    ],
    ids=str,
)
def test_other_adapters_are_refused_by_name(own, tmp_path, change, message):
    def renamed(name, tensor):
        part = name.removeprefix(f"{LAYER}.")
        return f"{LAYER}.{change.get(part, part)}" if part != name else name, tensor

    resave(own, renamed)
    with pytest.raises(CheckpointError, match=message) as raised:
        prepare(entry(own), tmp_path / "model")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda tensor: tensor[:, 1:], "does not fit"), (lambda tensor: tensor.to(torch.int8), "I8: .* floats only")],
)
def test_adapters_that_cannot_be_added_are_refused(own, tmp_path, change, message):
    name_of_one = f"{LAYER}.lora_A.default.weight"
    resave(own, lambda name, tensor: (name, change(tensor) if name == name_of_one else tensor))
    with pytest.raises(CheckpointError, match=message):
        prepare(entry(own), tmp_path / "model")


def test_two_bases_of_one_adapter_are_refused(own, tmp_path):
    norm, weight = f"{WRAPPED}model.norm.weight", f"{LAYER}.weight"
    resave(own, lambda name, tensor: (weight if name == norm else name, tensor))
    with pytest.raises(CheckpointError, match=r"both .*q_proj\.base_layer\.weight and .*q_proj\.weight: remove one"):
        prepare(entry(own), tmp_path / "model")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interruption_leaves_nothing(written, tmp_path, monkeypatch, error):
    copy, calls = adapters._copy, []

    def fail(*args):
        calls.append(args)
        if len(calls) == 5:
            raise error
        copy(*args)

    monkeypatch.setattr(adapters, "_copy", fail)
    with pytest.raises((CheckpointError, KeyboardInterrupt), match=r"^$|cannot be written: No space left on device"):
        prepare(entry(written), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_alpha_changes_the_cached_directory(written):
    found = [prepare(entry(written, lora_alpha=alpha)) for alpha in (None, 4, 32, 4)]
    assert len(set(found)) == 3 and found[1] == found[3]
    assert prepare(entry(written)) == found[0]


def test_other_families_refuse_alpha(tmp_path):
    for kind in ("llava-1.5", "onevision"):
        folder = checkpoints.write(tmp_path / kind, kind, image_size=84 if kind == "llava-1.5" else 98)
        with pytest.raises(CheckpointError, match=r"tested: lora_alpha weighs adapters .*, and LLaVA-.* has none"):
            prepare(entry(folder, lora_alpha=4), tmp_path / "model")


@pytest.mark.parametrize("alpha", [-1, True, "4", float("nan")])
def test_alpha_is_a_number_from_zero(alpha):
    with pytest.raises(ValueError, match="lora_alpha"):
        Entry(name="tested", checkpoint="x", lora_alpha=alpha)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"architectures": ["PlavaForConditionalGeneration"]},
        {"architectures": ["LlavaForConditionalGeneration"]},  # told by its fields
    ],
    ids=str,
)
def test_pllava_is_recognised_with_its_settings(tmp_path, changes):
    folder = pllava.write(tmp_path / "checkpoint", image_size=TINY, changes=changes)
    family, found = find(folder)
    assert (family.name, found) == ("PLLaVA", "hf")
    out = prepare(entry(folder, pathways="native"), tmp_path / "model")
    video = json.loads((out / "config.json").read_text(encoding="utf-8"))["sfllava"]
    settings = {"frames": 16, "pathways": "spatial_temporal_pool", "sampling": "segments", "fit": "shrink_crop"}
    assert video.items() >= (settings | {"newline": "none", "pool": "after_projector"}).items()
    assert json.loads((out / "sfllava.json").read_text(encoding="utf-8"))["prompts"] == "pllava"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling_shape": [16, 24, 24]}, r"pooling_shape is \[16, 24, 24\], PLLaVA needs \[16, 12, 12\]"),
        ({"pooling_method": "max"}, "pooling_method is 'max'"),
        ({"use_pooling": False}, "use_pooling is False"),
        ({"frame_shape": [24, 24]}, r"frame_shape is \[24, 24\], the tower has \[6, 6\] patches"),
    ],
)
def test_another_pooling_is_refused(tmp_path, changes, message):
    folder = pllava.write(tmp_path / "checkpoint", image_size=TINY, changes=changes)
    with pytest.raises(CheckpointError, match=message):
        prepare(entry(folder), tmp_path / "model")


def test_the_registry_names_all_three():
    for size in ("7b", "13b", "34b"):
        assert packaged().get(f"pllava-{size}").checkpoint == f"ermu2001/pllava-{size}"
