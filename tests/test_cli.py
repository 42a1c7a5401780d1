"""The command `sfllava` without an engine, and the pure half where vllm is not installed."""

import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import typer

import sfllava_plugin
from sfllava_plugin.cli import app, main

COMMAND = Path(sys.executable).with_name("sfllava")
PACKAGE = Path(sfllava_plugin.__file__).parent


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from examples.random_checkpoint import SMALL, write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "my-llava", family="qwen", geometry=SMALL)


@pytest.fixture
def sfllava(capfd, monkeypatch):
    """sfllava(argument, ...): run the command in this process; return exit code, standard output and error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sfllava", *map(str, arguments)])
        # The command sets environment variables, which later tests must not see.
        with patch.dict(os.environ), pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, *capfd.readouterr()

    return call


def test_models_prints_whole_cells(sfllava):
    code, out, _ = sfllava("models")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    paper = "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4"
    assert ["sf-llava-7b", "sf-llava", "llava-hf/llava-v1.6-vicuna-7b-hf", "50", paper] in lines
    assert ["sf-llava-34b-original", "liuhaotian/llava-v1.6-34b", "50", paper] in lines


def test_models_as_json(sfllava):
    code, out, _ = sfllava("models", "--json")
    assert code == 0
    entry = {each["name"]: each for each in json.loads(out)}["sf-llava-34b"]
    assert entry == {
        "name": "sf-llava-34b",
        "checkpoint": "llava-hf/llava-v1.6-34b-hf",
        "revision": None,
        "format": "hf",
        "frames": 50,
        "pathways": "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4",
        "newline": None,
        "order": None,
        "pool": None,
        "sampling": None,
        "fit": None,
        "rope": None,
        "time_instruction": None,
        "max_tiles": None,
        "lora_alpha": None,
        "prompts": "yi",
        "max_model_len": 4096,
        "aliases": [],
        "engine": {},
    }


def test_models_of_the_user_are_listed(sfllava, tmp_path, monkeypatch):
    (tmp_path / "own.yaml").write_text("models: {mine: {checkpoint: me/my-llava, frames: 7}}")
    monkeypatch.setenv("SFLLAVA_REGISTRY", str(tmp_path / "own.yaml"))
    names = {each["name"]: each["frames"] for each in json.loads(sfllava("models", "--json")[1])}
    assert names["mine"] == 7
    assert names["sf-llava-7b"] == 50


def test_prepare_prints_the_directory_last(sfllava, checkpoint):
    code, out, _ = sfllava("prepare", checkpoint)
    directory = Path(out.splitlines()[-1])
    assert code == 0
    assert directory.parent == Path(os.environ["SFLLAVA_CACHE"]) / "models"
    assert directory.name.startswith("my-llava-")
    assert (directory / "model.safetensors").resolve() == checkpoint / "model.safetensors"


def test_prepare_writes_to_the_given_folder(sfllava, checkpoint, tmp_path):
    code, out, _ = sfllava("prepare", checkpoint, "-o", tmp_path / "here")
    assert (code, out.splitlines()[-1]) == (0, str(tmp_path / "here"))
    assert (tmp_path / "here" / "sfllava.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "sf-lava"], "unknown model 'sf-lava': use one of sf-llava"),
        (["prepare", "nobody/no-such-llava"], "checkpoint 'nobody/no-such-llava' is not a local folder"),
        (["prepare", "{tests}"], "no readable config.json"),
        (["prepare", "{checkpoint}", "-o", "{tests}"], "holds other files; choose an empty or a new folder"),
        (["prepare", "{checkpoint}", "-o", "{tests}/test_cli.py"], "test_cli.py"),
        (["ask", "no-such.mp4", "What?"], "no-such.mp4"),
        (["ask", "a.mp4", "What?", "--engine-args", "{dtype}"], "--engine-args is not JSON"),
        (["ask", "a.mp4", "What?", "--engine-args", "[1]"], "--engine-args must be a JSON object"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(sfllava, checkpoint, arguments, message):
    places = {"{tests}": str(Path(__file__).parent), "{checkpoint}": str(checkpoint)}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    code, out, err = sfllava(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("sfllava: ")
    assert err.count("\n") == 1
    assert message in err


def test_an_invalid_registry_is_one_line_too(sfllava, tmp_path, monkeypatch):
    (tmp_path / "own.yaml").write_text("models:\n  mine:\n    checkpoint: me/my-llava\n    frame: 7\n")
    monkeypatch.setenv("SFLLAVA_REGISTRY", str(tmp_path / "own.yaml"))
    code, out, err = sfllava("models")
    assert (code, out) == (2, "")
    assert err.startswith(f"sfllava: {tmp_path / 'own.yaml'}, line 4: mine: unknown key 'frame'")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["serve"], ["prepare"], ["ask", "a.mp4"], ["models", "--yaml"]])
def test_wrong_usage_is_one_line_and_exit_code_2(sfllava, arguments):
    code, out, err = sfllava(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("sfllava: ")
    assert len(err.splitlines()) == 1


def test_without_arguments_the_commands_are_listed(sfllava):
    code, out, _ = sfllava()
    assert code == 0
    assert all(command in out for command in ("models", "prepare", "ask", "check"))


def test_the_version_is_the_packages(sfllava):
    assert sfllava("--version") == (0, f"sfllava {importlib.metadata.version('sfllava-plugin')}\n", "")


COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_that_parses(sfllava, name):
    code, out, _ = sfllava(name, "--help")
    assert code == 0
    example = out.partition("\nExample:\n")[2] or out.partition("\n  Example:\n")[2]
    assert len(example.strip().splitlines()) == 1
    if name == "tasks-dir":
        assert "$(sfllava tasks-dir)" in example
        return
    words = shlex.split(example)
    words = words[words.index("sfllava") + 1 :]
    assert words[0] == name
    COMMANDS[name].make_context(name, words[1:])


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["sfllava", "che"], ["check"]),
        (["sfllava", "ask", "--model", "sf-llava-t"], ["sf-llava-tiny"]),
        (["sfllava", "prepare", "sf-llava-34"], ["sf-llava-34b", "sf-llava-34b-original"]),
    ],
)
def test_the_shell_completes_commands_and_models(words, completed):
    position = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    environment = {**os.environ, "_SFLLAVA_COMPLETE": "complete_bash", **position}
    done = subprocess.run([COMMAND], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (completed, "")


def test_completion_is_silent_about_an_invalid_registry():
    environment = {**os.environ, "_SFLLAVA_COMPLETE": "complete_bash", "SFLLAVA_REGISTRY": "none.yaml"}
    environment |= {"COMP_WORDS": "sfllava prepare s", "COMP_CWORD": "2"}
    done = subprocess.run([COMMAND], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_installed_command_prints_only_the_directory(small_original):
    done = subprocess.run([COMMAND, "prepare", small_original], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert (Path(done.stdout.splitlines()[-1]) / "sfllava.json").is_file()


def test_the_installed_command_fails_with_one_line():
    done = subprocess.run([COMMAND, "prepare", "sf-lava"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sfllava: unknown model 'sf-lava'")
    assert done.stderr.count("\n") == 1


LOOK_UPS = ["models", "models --json", "limits", "tasks-dir", "--version", "--help", "ask --help"]


@pytest.mark.parametrize("command", LOOK_UPS)
def test_looking_something_up_imports_nothing_heavy(command):
    call = [sys.executable, "-X", "importtime", "-m", "sfllava_plugin.cli", *command.split()]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"torch", "transformers", "vllm", "numpy", "av", "decord", "PIL", "jinja2"}


WITHOUT_VLLM = """
import contextlib, io, json, sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in ("vllm", "lmms_eval")
        return None if absent else super().find_spec(name, path, target)

sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]

def call(function, *arguments):
    sys.argv = ["sfllava", *arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            function()
        except SystemExit as left:
            code = left.code or 0
    return code, out.getvalue(), err.getvalue()

from sfllava_plugin.cli import main
from sfllava_plugin.engine import register
checkpoint, video = sys.argv[1:]
results = {
    "register": call(register),
    "models": call(main, "models", "--json"),
    "prepare": call(main, "prepare", checkpoint),
    "ask": call(main, "ask", video, "What?"),
    "check": call(main, "check"),
}
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def without_vllm(checkpoint, bikes):
    """Exit code, standard output and error of several calls, in one process where vllm is not installed."""
    command = [sys.executable, "-c", WITHOUT_VLLM, str(checkpoint), str(bikes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_vllm_the_plugin_is_quiet(without_vllm):
    assert without_vllm["register"] == [0, "", ""]


def test_without_vllm_models_and_prepare_work(without_vllm):
    code, out, _ = without_vllm["models"]
    assert code == 0
    assert "sf-llava-7b" in [each["name"] for each in json.loads(out)]
    code, out, _ = without_vllm["prepare"]
    assert code == 0
    assert (Path(out.splitlines()[-1]) / "sfllava.json").is_file()


def test_without_vllm_ask_and_check_name_what_to_install(without_vllm):
    install = "pip install '.[cuda]' or pip install '.[cpu]' in the sfllava_plugin source folder"
    assert without_vllm["ask"] == [2, "", f"sfllava: vllm is not installed: {install}\n"]
    code, out, _ = without_vllm["check"]
    assert code == 1
    assert install in out


def test_importing_the_pure_half_loads_no_engine():
    files = [file.relative_to(PACKAGE.parent).with_suffix("") for file in PACKAGE.rglob("*.py")]
    modules = [".".join(file.parts) for file in files if not {"engine", "evaluation", "__init__"} & set(file.parts)]
    program = f"import sys, {', '.join(modules)}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "torch" in loaded
    assert not loaded & {"vllm", "lmms_eval", "gradio"}
    assert not [name for name in done.stdout.split() if name.startswith(("sfllava_plugin.engine", "sfllava_plugin.ev"))]
