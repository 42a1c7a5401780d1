"""registry.yaml, the user's own file, and the errors in either."""

import os
from pathlib import Path

import pytest

from sfllava_plugin import registry
from sfllava_plugin.limits import Limits
from sfllava_plugin.registry import RegistryError

PAPER = "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4"
SHIPPED = {
    "sf-llava-7b": ("llava-hf/llava-v1.6-vicuna-7b-hf", "hf", "vicuna"),
    "sf-llava-7b-original": ("liuhaotian/llava-v1.6-vicuna-7b", "original", "vicuna"),
    "sf-llava-34b": ("llava-hf/llava-v1.6-34b-hf", "hf", "yi"),
    "sf-llava-34b-original": ("liuhaotian/llava-v1.6-34b", "original", "yi"),
    "sf-llava-mistral-7b": ("llava-hf/llava-v1.6-mistral-7b-hf", "hf", "mistral"),
    "sf-llava-llama3-8b": ("llava-hf/llama3-llava-next-8b-hf", "hf", "llama3"),
}


@pytest.fixture
def user_file(tmp_path, monkeypatch):
    """user_file(text): write the user's registry; return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "own.yaml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("SFLLAVA_REGISTRY", str(path))
        return path

    return write


def entry(*lines: str) -> str:
    return "\n".join(["models:", "  mine:", "    checkpoint: owner/name", *(f"    {line}" for line in lines), ""])


@pytest.mark.parametrize("name", SHIPPED)
def test_every_promised_model_is_shipped_with_the_papers_settings(name):
    found = registry.load().get(name)
    assert (found.checkpoint, found.format, found.prompts) == SHIPPED[name]
    assert (found.frames, str(found.pathways), found.max_model_len) == (50, PAPER, 4096)


def test_sf_llava_is_the_papers_7b():
    assert registry.load().get("sf-llava") is registry.load().get("sf-llava-7b")


def test_an_unknown_name_is_an_error_that_lists_the_names():
    assert registry.load().find("sf-lava") is None
    with pytest.raises(RegistryError, match=r"unknown model 'sf-lava': use one of .*sf-llava.*sf-llava-34b"):
        registry.load().get("sf-lava")


def test_what_an_entry_leaves_out_is_the_checkpoints_own(user_file):
    user_file(entry())
    found = registry.load().get("mine").model_dump(mode="json")
    assert {name for name, value in found.items() if value} == {"name", "checkpoint"}
    assert {name for name, value in found.items() if value is not None} == {"name", "checkpoint", "aliases", "engine"}


def test_every_setting_is_read(user_file):
    user_file(
        entry(
            "revision: v2",
            "format: original",
            "frames: 20",
            "pathways: {slow: {frames: 4, pool: concat}, fast: {height: 5, width: 7}}",
            "newline: rows",
            "order: time",
            "pool: before_projector",
            "sampling: second",
            "fit: pad",
            "rope: linear-2.5",
            "time_instruction: false",
            "max_tiles: 0",
            "lora_alpha: 6.5",
            "prompts: yi",
            "max_model_len: 8000",
            "aliases: [m, also-mine]",
            "engine: {dtype: float16, max_num_seqs: 3}",
        )
    )
    found = registry.load().get("also-mine")
    assert found == registry.load().get("m") == registry.load().get("mine")
    assert found.model_dump(mode="json") == {
        "name": "mine",
        "checkpoint": "owner/name",
        "revision": "v2",
        "format": "original",
        "frames": 20,
        "pathways": "slowfast-slow_4frms_concat-fast_5x7",
        "newline": "rows",
        "order": "time",
        "pool": "before_projector",
        "sampling": "second",
        "fit": "pad",
        "rope": "linear-2.5",
        "time_instruction": False,
        "max_tiles": 0,
        "lora_alpha": 6.5,
        "prompts": "yi",
        "max_model_len": 8000,
        "aliases": ["m", "also-mine"],
        "engine": {"dtype": "float16", "max_num_seqs": 3},
    }


def test_without_max_model_len_the_models_own_holds(user_file):
    user_file(entry("max_model_len: null"))
    assert registry.load().get("mine").max_model_len is None


def test_entries_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        registry.load().get("sf-llava").frames = 5


def test_a_users_entry_wins_and_the_others_stay(user_file):
    user_file("models:\n  sf-llava-34b:\n    checkpoint: me/my-34b\n    frames: 8\n")
    assert registry.load().get("sf-llava-34b").checkpoint == "me/my-34b"
    assert registry.load().get("sf-llava-34b").frames == 8
    others = set(SHIPPED) - {"sf-llava-34b"}
    assert {name: registry.load().get(name).checkpoint for name in others} == {
        name: SHIPPED[name][0] for name in others
    }


def test_a_users_alias_wins_over_a_shipped_alias(user_file):
    user_file(entry("aliases: [sf-llava]"))
    assert registry.load().get("sf-llava").name == "mine"
    assert registry.load().get("sf-llava-7b").aliases == ()
    assert registry.load().get("sf-llava-7b").checkpoint == SHIPPED["sf-llava-7b"][0]


def test_a_users_alias_wins_over_a_shipped_name(user_file):
    user_file(entry("aliases: [sf-llava-34b]"))
    assert registry.load().get("sf-llava-34b").name == "mine"
    assert "sf-llava-34b" not in [each.name for each in registry.load()]


def test_a_changed_file_is_read_again(user_file):
    path = user_file(entry("frames: 3"))
    assert registry.load().get("mine").frames == 3
    path.write_text(entry("frames: 4"), encoding="utf-8")
    # A second later, since the file system's clock may be coarse.
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert registry.load().get("mine").frames == 4


@pytest.mark.parametrize("written", ["./weights", "weights", "sub/../weights"])
def test_a_checkpoint_folder_is_relative_to_the_file_that_names_it(user_file, tmp_path, monkeypatch, written):
    (tmp_path / "weights").mkdir()
    (tmp_path / "sub").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    user_file(f"models:\n  mine:\n    checkpoint: {written}\n")
    assert Path(registry.load().get("mine").checkpoint).resolve() == tmp_path / "weights"


def test_an_absolute_folder_and_a_hub_repository_stay_what_they_are(user_file, tmp_path):
    user_file(f"models:\n  a: {{checkpoint: {tmp_path}/none}}\n  b: {{checkpoint: owner/name}}\n")
    assert registry.load().get("a").checkpoint == f"{tmp_path}/none"
    assert registry.load().get("b").checkpoint == "owner/name"


def test_a_tilde_is_the_home_folder(user_file):
    user_file("models:\n  mine:\n    checkpoint: ~/weights\n")
    assert registry.load().get("mine").checkpoint == str(Path.home() / "weights")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (entry("frame: 8"), "line 4: mine: unknown key 'frame': use one of checkpoint, revision, format, frames"),
        (entry("frames: 8", "name: other"), "line 5: mine: unknown key 'name': use one of checkpoint, "),
        (entry("7: 8"), "line 4: mine: unknown key '7'"),
        (entry("frames: 8", "frames: 9"), "line 5: the key 'frames' is there twice"),
        (entry("pathways: medium"), "line 4: mine: pathways: unknown pathway 'medium': use slowfast-"),
        (entry("pathways: Native"), "line 4: mine: pathways: unknown pathway 'Native': use slowfast-"),
        (entry("newline: grid"), "line 4: mine: newline: .*'none', 'end', 'frames' or 'rows'"),
        (entry("newline: true"), "line 4: mine: newline: .*'none', 'end', 'frames' or 'rows'"),
        (entry("order: fast_first"), "line 4: mine: order: .*'slow_first' or 'time'"),
        (entry("pool: projector"), "line 4: mine: pool: .*'after_projector' or 'before_projector'"),
        (entry("sampling: random"), "line 4: mine: sampling: .*'middles', 'linspace', 'second', 'segments' or 'step'"),
        (entry("fit: stretch"), "line 4: mine: fit: .*'squash', 'crop', 'pad', 'shrink_crop' or 'native'"),
        (
            entry("rope: linear"),
            "line 4: mine: rope: unknown rope 'linear': use checkpoint or linear-FACTOR, as in lin",
        ),
        (entry("rope: linear-0"), "line 4: mine: rope: unknown rope 'linear-0': use checkpoint or linear-FACTOR"),
        (entry("rope: linear--2"), "line 4: mine: rope: unknown rope 'linear--2'"),
        (entry("rope: yarn-4"), "line 4: mine: rope: unknown rope 'yarn-4'"),
        (entry("rope: 2"), "line 4: mine: rope: unknown rope 2: use checkpoint or linear-FACTOR"),
        (entry("time_instruction: 1"), "line 4: mine: time_instruction: .*boolean"),
        (entry("time_instruction: 'yes'"), "line 4: mine: time_instruction: .*boolean"),
        (entry("max_tiles: -1"), "line 4: mine: max_tiles: .*greater than or equal to 0"),
        (entry("max_tiles: 1.5"), "line 4: mine: max_tiles: .*integer"),
        (entry("pathways: slowfast-slow_1frms_foo-fast_1x1"), "line 4: mine: pathways: unknown slow pool 'foo'"),
        (entry("pathways:", "  slow: {frames: 1.5, pool: concat}", "  fast: {height: 1, width: 1}"), "not 1.5"),
        (entry("prompts: gemma"), "line 4: mine: prompts: unknown prompts 'gemma': use one of vicuna, yi, mistral"),
        (entry("prompts: [yi]"), r"line 4: mine: prompts: unknown prompts \['yi'\]"),
        (entry("format: gguf"), "line 4: mine: format: .*'hf' or 'original'"),
        (entry("frames: 0"), "line 4: mine: frames: .*greater than or equal to 1"),
        (entry("frames: 1025"), "line 4: mine: frames: 1025, the limit is 1024"),
        (entry("frames: many"), "line 4: mine: frames: .*integer"),
        (entry("frames: 2.5"), "line 4: mine: frames: .*integer"),
        (entry("frames: true"), "line 4: mine: frames: .*integer"),
        (entry("max_model_len: 0"), "line 4: mine: max_model_len: .*greater than or equal to 1"),
        (entry("engine: fast"), "line 4: mine: engine: .*dictionary"),
        (entry("aliases: m"), "line 4: mine: aliases: "),
        (entry("revision: 2024-01-01"), "line 4: mine: revision: .*string"),
        (entry("revision: 2024-13-45"), "line 3: mine: month must be in 1..12"),
        (entry("engine: !!python/object:os.system {}"), "line 3: mine: could not determine a constructor"),
        ("models:\n  mine:\n    frames: 8\n", "line 3: mine: the key 'checkpoint' is missing"),
        ("models:\n  ? 'a\n\n    b'\n  : {checkpoint: a/b}\n", r"line 2: 'a\\nb' cannot be a name: use text"),
        ("models:\n  '': {checkpoint: a/b}\n", "line 2: '' cannot be a name"),
        ("models:\n  {a: b}: {checkpoint: a/b}\n", "line 2: a key must be a word, not a list or a mapping"),
        (entry("[a]: 5"), "line 4: a key must be a word"),
        (entry('aliases: ["a\\tb"]'), r"line 4: mine: aliases.0: 'a\\tb' cannot be a name"),
        ("models:\n  mine: {checkpoint: [a]}\n", "line 2: mine: checkpoint: .*string"),
        ("models:\n  mine: owner/name\n", "line 2: mine must map settings to values"),
        ("models: [mine]\n", "line 1: models must map names to settings"),
        ("model: {}\n", "line 1: unknown key 'model': use models or limits"),
        ("models: {}\nmodel: {}\n", "line 2: unknown key 'model': use models or limits"),
        ("models: {}\nmodels: {}\n", "line 2: the key 'models' is there twice"),
        ("{}", "a registry is a mapping with the keys models and limits, or one of them"),
        ("", "a registry is a mapping with the keys models and limits"),
        ("limits: {frames: 0}", "line 1: limits: frames: .*greater than or equal to 1"),
        ("limits:\n  decode_seconds: .inf\n", "line 2: limits: decode_seconds: .*less than or equal"),
        ("limits:\n  decode_seconds: .nan\n", "line 2: limits: decode_seconds: "),
        ("limits:\n  seconds: 1\n", "line 2: limits: unknown key 'seconds': use one of frames, videos, "),
        ("limits: 5", "line 1: limits must map names to settings"),
        ("limits: {frames: 20}\n" + entry("frames: 21"), "line 5: mine: frames: 21, the limit is 20"),
        ("[" * 100_000, "not YAML"),
        ("models: {a: b: c}", "not YAML: .*line 1, column"),
        ("models:\n\tmine: {}\n", "not YAML: .*line 2, column 1"),
    ],
)
def test_errors_name_file_line_and_key(user_file, text, message):
    path = user_file(text)
    with pytest.raises(RegistryError, match=message) as raised:
        registry.load()
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "models:\n  one:\n    checkpoint: a/b\n    aliases: [x]\n  two:\n    checkpoint: a/b\n    aliases: [x]\n",
            "line 5: the name 'x' is already taken by 'one'",
        ),
        (
            "models:\n  one:\n    checkpoint: a/b\n    aliases: [two]\n  two:\n    checkpoint: a/b\n",
            "line 5: the name 'two' is already taken by 'one'",
        ),
        ("models:\n  one: {checkpoint: a/b, aliases: [one]}\n", "line 2: the name 'one' is already taken by 'one'"),
        ("models:\n  one: {checkpoint: a/b, aliases: [x, x]}\n", "line 2: the name 'x' is already taken by 'one'"),
        ("models:\n  one: {checkpoint: a/b}\n  one: {checkpoint: c/d}\n", "line 3: .*'one'"),
    ],
)
def test_a_file_may_use_a_name_only_once(user_file, text, message):
    user_file(text)
    with pytest.raises(RegistryError, match=message):
        registry.load()


def test_a_missing_file_is_an_error_that_names_file_and_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SFLLAVA_REGISTRY", str(tmp_path / "none.yaml"))
    with pytest.raises(RegistryError, match=r"none\.yaml: no such registry file .*SFLLAVA_REGISTRY"):
        registry.load()


def test_bytes_that_are_not_text_are_not_yaml(user_file):
    user_file("").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(RegistryError, match="not YAML"):
        registry.load()


def test_an_alias_stays_with_its_name_when_the_user_replaces_the_entry(user_file):
    user_file("models:\n  sf-llava-7b:\n    checkpoint: some/other\n")
    replaced = registry.load().get("sf-llava")
    assert (replaced.name, replaced.checkpoint, replaced.aliases) == ("sf-llava-7b", "some/other", ("sf-llava",))


def test_limits_without_models(user_file):
    user_file("limits:\n  duration_seconds: 60\n  decoders: 3\n")
    found = registry.load()
    assert found.get("sf-llava").frames == 50
    assert found.limits == Limits(duration_seconds=60, decoders=3)
