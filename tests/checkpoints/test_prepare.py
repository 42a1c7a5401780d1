"""The content of a model directory, for every format, naming and family of checkpoint."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
from transformers import AutoConfig, AutoTokenizer

from examples.random_checkpoint import SMALL, write_checkpoint
from examples.random_tokenizers import FAMILIES
from sfllava_plugin.checkpoints.prepare import entry_of, model_directory, prepare
from sfllava_plugin.registry import Entry

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
# <image> follows the 32000 or 2000 pieces and the family's own special tokens. ENDS: the ids that end a reply.
MARKER = {"vicuna": 32000, "mistral": 32000, "yi": 32002, "llama3": 2005, "qwen": 2003}
ENDS = {"vicuna": [2], "mistral": [2], "yi": [32001], "llama3": [2004], "qwen": [2002]}
POSITIONS = {"vicuna": 4096, "mistral": 32768, "yi": 4096, "llama3": 8192, "qwen": 32768}
TEXT_MODEL = {"vicuna": "llama", "mistral": "mistral", "yi": "llama", "llama3": "llama", "qwen": "qwen2"}


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def change(path: Path, **settings) -> None:
    path.write_text(json.dumps(read(path) | settings), encoding="utf-8")


def prepared(folder: Path, **settings) -> Path:
    return prepare(Entry(name="tested", checkpoint=str(folder), **settings))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """written(family, **how): the checkpoint and its model directory, written once."""
    made = {}

    def make(family: str, **how) -> tuple[Path, Path]:
        key = (family, *how.items())
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{family}-checkpoint")
            write_checkpoint(folder, family=family, geometry=SMALL, **how)
            if how.get("layout") == "original":
                # Some families' wrappers go inside the checkpoint's own chat template.
                change(folder / "tokenizer_config.json", chat_template=FAMILIES[family].chat_template)
            made[key] = folder, prepared(folder)
        return made[key]

    return make


def check_links(folder: Path, out: Path) -> None:
    weights = sorted(path.name for path in folder.glob("*.safetensors*"))
    assert weights
    assert sorted(path.name for path in out.glob("*.safetensors*")) == weights
    for name in weights:
        assert (out / name).is_symlink()
        assert (out / name).resolve() == (folder / name).resolve()


HOW = [
    {"names": "published"},
    {"names": "transformers5"},
    {"names": "module"},
    {"names": "published", "shards": 3},
    {"layout": "original"},
    {"layout": "original", "shards": 3},
]


@pytest.mark.parametrize("how", HOW, ids=str)
def test_config_describes_the_same_model_however_it_was_published(written, how):
    folder, out = written("vicuna", **how)
    config = read(out / "config.json")
    assert config["architectures"] == ["SlowFastLlavaForConditionalGeneration"]
    assert config["model_type"] == "llava_next"
    assert (config["sfllava"]["version"], config["sfllava"]["frames"]) == (1, 50)
    assert config["sfllava"]["pathways"] == "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4"
    assert config["sfllava"]["geometry"] == {
        "tower": "clip",
        "rows": 6,
        "columns": 6,
        "image_size": 48,
        "mean": CLIP_MEAN,
        "std": CLIP_STD,
        "feature_layer": -2,
        "class_token": True,
    }
    assert config["image_token_index"] == 32000
    assert (config["vision_feature_layer"], config["vision_feature_select_strategy"]) == (-2, "default")
    tower = {"image_size": 48, "patch_size": 8, "hidden_size": 128, "num_hidden_layers": 3}
    tower |= {"num_attention_heads": 2, "intermediate_size": 256, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
    assert config["vision_config"].items() >= tower.items()
    text = {"model_type": "llama", "hidden_size": 128, "num_hidden_layers": 2, "num_key_value_heads": 2}
    text |= {"num_attention_heads": 4, "intermediate_size": 256, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
    assert config["text_config"].items() >= text.items()
    assert config["text_config"]["rope_parameters"] == {"rope_theta": 10000.0, "rope_type": "default"}
    # With <image>, and padded to a multiple of 64; the original format has no row for it.
    assert config["text_config"]["vocab_size"] == 32064
    assert config["sfllava"]["trained_vocab_size"] == (32000 if "layout" in how else 32064)
    check_links(folder, out)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", ["hf", "original"])
def test_every_family_is_prepared(written, family, layout):
    folder, out = written(family, layout=layout)
    config = AutoConfig.from_pretrained(out)
    assert config.text_config.model_type == TEXT_MODEL[family]
    assert config.image_token_index == MARKER[family]
    assert AutoTokenizer.from_pretrained(out)("<image>", add_special_tokens=False).input_ids == [MARKER[family]]
    generation = read(out / "generation_config.json")
    assert (generation["do_sample"], generation["temperature"]) == (False, 0.0)
    assert generation["eos_token_id"] == ENDS[family]
    assert read(out / "video_preprocessor_config.json") == {"video_processor_type": "SlowFastLlavaVideoProcessor"}
    assert "key frames from a video" in (out / "chat_template.jinja").read_text(encoding="utf-8")
    manifest = read(out / "sfllava.json")
    assert (manifest["prompts"], manifest["format"], manifest["checkpoint"]) == (family, layout, str(folder))
    assert manifest["engine"] == {"max_model_len": POSITIONS[family]}


TEXTS = [
    "USER: <image>\nWhat?",
    "  a  b\n\n",
    "Grüße 東京 🚲",
    "<image> <image>",
    "",
    "</s> and <unk>",
    " Answer: In the",
]


@pytest.mark.parametrize("family", ["vicuna", "yi", "mistral"])
def test_both_formats_give_the_same_tokenizer(written, family):
    one, other = (AutoTokenizer.from_pretrained(written(family, layout=layout)[1]) for layout in ("hf", "original"))
    for text in TEXTS:
        ids = one(text).input_ids
        assert other(text).input_ids == ids
        assert other.decode(ids) == one.decode(ids)
    assert one.decode(one("a red bus").input_ids, skip_special_tokens=True) == "a red bus"


def test_files_that_need_no_change_are_links(written):
    folder, out = written("vicuna", names="published")
    assert (out / "tokenizer.json").resolve() == (folder / "tokenizer.json").resolve()
    assert (out / "tokenizer.model").resolve() == (folder / "tokenizer.model").resolve()


def test_the_checkpoint_is_left_unchanged(small_original):
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in small_original.iterdir()}
    prepared(small_original, frames=3)
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in small_original.iterdir()} == before


def test_settings_of_the_entry_are_written(small_hf):
    settings = {"pathways": "slowfast-slow_2frms_concat-fast_5x3", "frames": 7, "max_model_len": 1000}
    out = prepared(small_hf, prompts="yi", engine={"dtype": "float16"}, **settings)
    config, manifest = read(out / "config.json"), read(out / "sfllava.json")
    assert config["sfllava"]["frames"] == 7
    assert config["sfllava"]["pathways"] == "slowfast-slow_2frms_concat-fast_5x3"
    assert manifest["engine"] == {"max_model_len": 1000, "dtype": "float16"}
    assert manifest["prompts"] == "yi"
    assert "<|im_start|>" in (out / "chat_template.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("family", "wanted", "context"),
    [("vicuna", 9000, 4096), ("vicuna", None, 4096), ("qwen", 9000, 9000), ("qwen", None, 32768)],
)
def test_the_context_is_never_longer_than_the_trained_one(written, family, wanted, context):
    out = prepared(written(family, layout="hf")[0], max_model_len=wanted)
    assert read(out / "sfllava.json")["engine"] == {"max_model_len": context}


@pytest.fixture
def copy(written, tmp_path):
    """copy(family, layout): a checkpoint for the test to change."""
    return lambda family, layout="hf": Path(shutil.copytree(written(family, layout=layout)[0], tmp_path / "copy"))


@pytest.mark.parametrize(
    ("family", "own", "tokenizers", "expected"),
    [
        ("llama3", [2001, 2004], "<|eot_id|>", [2001, 2004]),
        ("llama3", 2001, "<|eot_id|>", [2001, 2004]),
        ("llama3", 2001, "<|end_of_text|>", [2001, 2004]),  # neither names the end of a turn
        ("yi", 2, "</s>", [2, 32001]),
        ("qwen", 2000, "<|endoftext|>", [2000, 2002]),
        ("qwen", None, "<|im_end|>", [2002]),
        ("vicuna", 2, "</s>", [2]),
    ],
)
def test_a_reply_ends_at_the_end_of_the_text_or_of_the_turn(copy, family, own, tokenizers, expected):
    folder = copy(family)
    change(folder / "generation_config.json", eos_token_id=own)
    change(folder / "tokenizer_config.json", eos_token=tokenizers)
    assert read(prepared(folder) / "generation_config.json")["eos_token_id"] == expected


def test_without_generation_config_the_language_models_end_token_is_used(copy):
    folder = copy("llama3")
    (folder / "generation_config.json").unlink()
    assert read(prepared(folder) / "generation_config.json")["eos_token_id"] == [2004]


def test_the_checkpoints_sampling_settings_are_ignored(copy):
    folder = copy("qwen")
    change(folder / "generation_config.json", do_sample=True, temperature=0.9, top_p=0.6)
    generation = read(prepared(folder) / "generation_config.json")
    assert (generation["do_sample"], generation["temperature"]) == (False, 0.0)
    assert "top_p" not in generation


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_dynamic_rope_scaling_is_dropped(copy, layout):
    folder, scaling = copy("yi", layout), {"type": "dynamic", "factor": 2.0}
    if layout == "hf":
        text = read(folder / "config.json")["text_config"]
        change(folder / "config.json", text_config=text | {"rope_scaling": scaling})
    else:
        change(folder / "config.json", rope_scaling=scaling)
    rope = read(prepared(folder) / "config.json")["text_config"]["rope_parameters"]
    assert rope == {"rope_type": "default", "rope_theta": 5e6}


def test_a_hub_repository_comes_from_the_hubs_cache(written):
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = Path(huggingface_hub.constants.HF_HUB_CACHE) / "models--llava-owner--llava-name"
    snapshot = Path(shutil.copytree(written("qwen", layout="hf")[0], repository / "snapshots" / revision))
    (snapshot / "hf_quant_config.json").write_text("{}", encoding="utf-8")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    out = prepare(entry_of("llava-owner/llava-name"))
    check_links(snapshot, out)
    assert (out / "hf_quant_config.json").resolve() == snapshot / "hf_quant_config.json"
    assert out.name.startswith("llava-name-")
    assert prepare(Entry(name="tested", checkpoint="llava-owner/llava-name", revision=revision)) != out


def test_names_aliases_and_folders_find_a_model_directory(small_hf, tmp_path, monkeypatch):
    own = tmp_path / "own.yaml"
    own.write_text(f"models:\n  mine:\n    checkpoint: {small_hf}\n    frames: 5\n    aliases: [also-mine]\n")
    monkeypatch.setenv("SFLLAVA_REGISTRY", str(own))
    out = model_directory("mine")
    assert read(out / "config.json")["sfllava"]["frames"] == 5
    assert model_directory("also-mine") == out
    assert model_directory(str(out)) == out
    assert read(model_directory(str(small_hf)) / "config.json")["sfllava"]["frames"] == 50


def test_other_json_files_are_linked(written, copy):
    folder = copy("qwen")
    brought = {"hf_quant_config.json", "quantize_config.json", "quant_config.json", "trainer_state.json"}
    for name in brought:
        (folder / name).write_text('[{"bits": 4}]', encoding="utf-8")
    (folder / "params.json").write_text("{}", encoding="utf-8")
    (folder / "damaged.json").write_text("{", encoding="utf-8")
    out = prepared(folder)
    assert {path.name for path in out.iterdir()} == {path.name for path in written("qwen")[1].iterdir()} | brought
    assert all((out / name).is_symlink() and (out / name).resolve() == folder / name for name in brought)


def test_files_about_images_and_prompts_are_not_linked(written):
    folder, out = written("vicuna", names="published")
    names = {"chat_template.json", "preprocessor_config.json", "processor_config.json"}
    assert names <= {path.name for path in folder.iterdir()}
    assert not names & {path.name for path in out.iterdir()}


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_a_quantization_config_is_kept(copy, layout):
    folder, how = copy("vicuna", layout), {"quant_method": "gptq", "bits": 4, "group_size": 32}
    change(folder / "config.json", quantization_config=how)
    config = read(prepared(folder) / "config.json")
    # vLLM reads it in either place.
    assert (config if layout == "hf" else config["text_config"])["quantization_config"] == how


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_code_in_a_checkpoint_is_left_behind(copy, layout, tmp_path):
    folder = copy("vicuna", layout)
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    code = {"AutoConfig": "someone/repository--evil.Config", "AutoTokenizer": ["evil.Tokenizer", None]}
    config = read(folder / "config.json")
    nested = {"text_config": config["text_config"] | {"auto_map": code}} if layout == "hf" else {}
    change(folder / "config.json", auto_map=code, **nested)
    change(folder / "tokenizer_config.json", auto_map=code)
    (folder / "more.json").write_text(json.dumps({"a": [{"auto_map": code, "b": 1}]}), encoding="utf-8")
    out = prepared(folder)
    assert not ran.exists()
    assert not [path.name for path in out.iterdir() if path.suffix in (".py", ".bin")]
    text = [path for path in out.iterdir() if path.suffix in (".json", ".jinja")]
    assert not [path.name for path in text if "auto_map" in path.read_text(encoding="utf-8")]
    assert read(out / "more.json") == {"a": [{"b": 1}]}
