"""`sfllava ask` as a user meets it: the answer, the JSON, and one line for everything that goes wrong."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from sfllava_plugin import cli
from sfllava_plugin.prompts.choices import read_choice
from tests.engine.support import KV_CACHE

ENGINE = json.dumps({"dtype": "float32", "kv_cache_memory_bytes": KV_CACHE})
KEYS = [
    "model",
    "video",
    "frames",
    "slow_frames",
    "video_tokens",
    "prompt",
    "prompt_token_ids",
    "token_ids",
    "text",
    "answer",
    "logprobs",
]


@pytest.fixture
def ask(monkeypatch, capsys, checkpoints):
    """ask(arguments): (exit code, standard output, standard error) of the command, run in this process."""

    def run(*arguments, model=None):
        given = ["sfllava", "ask", *arguments, "--model", model or str(checkpoints()), "--engine-args", ENGINE]
        monkeypatch.setattr(sys, "argv", given)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return stopped.value.code, out, err

    return run


def test_json_is_the_contract_and_the_runners_answer(ask, runners, bikes):
    from sfllava_plugin.engine.offline.questions import Question

    options = ("a red bus", "two bikes")
    given = [argument for option in options for argument in ("--options", option)]
    code, out, _ = ask(str(bikes), "What is there?", *given, "--max-tokens", "8", "--json")
    said = json.loads(out)
    assert code == 0
    assert list(said) == KEYS
    expected = runners().answer(Question(str(bikes), "What is there?", options, 8, logprobs=5))
    assert said["token_ids"] == expected.token_ids
    assert said["prompt_token_ids"] == expected.prompt_token_ids
    assert said | {"logprobs": 0} == dataclasses.asdict(expected) | {"logprobs": 0}
    assert len(said["logprobs"]) == 5
    # Nobody asked for them here.
    assert runners().answer(Question(str(bikes), "What is there?", options, 8)).logprobs == []
    assert said["answer"] == read_choice(said["text"], options)


def test_the_answer_is_all_of_standard_output(checkpoints, bikes):
    """By the installed command, in a process of its own."""
    command = [os.path.join(os.path.dirname(sys.executable), "sfllava"), "ask", str(bikes), "What is there?"]
    command += ["--model", str(checkpoints()), "--engine-args", ENGINE, "--max-tokens", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.fixture
def broken(tmp_path):
    """broken(name): a video that is none."""
    contents = {"garbage.mp4": bytes(range(256)) * 40, "empty.mp4": b"", "text.mp4": b"not a video\n" * 50}

    def write(name):
        path = tmp_path / name
        if name in contents:
            path.write_bytes(contents[name])
        elif name == "folder":
            path.mkdir()
        return str(path)

    return write


@pytest.mark.parametrize("name", ["garbage.mp4", "empty.mp4", "text.mp4", "missing.mp4", "folder"])
def test_unreadable_videos(ask, broken, name):
    code, out, err = ask(broken(name), "What is there?")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("sfllava: ")
    assert name in err


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("sf-lava", "unknown model 'sf-lava': use one of sf-llava"),
        ("nobody/nothing", "checkpoint 'nobody/nothing' is no folder here, and the hub did not give it"),
    ],
)
def test_models_that_are_not_there(ask, bikes, model, message):
    code, out, err = ask(str(bikes), "What is there?", model=model)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_question_longer_than_the_context(ask, bikes):
    code, _, err = ask(str(bikes), "Why? " * 400)
    assert code == 2
    assert "longer than the maximum model length of 4096" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("{", "--engine-args is not JSON"),
        ("[]", "--engine-args must be a JSON object"),
        ('{"max_squids": 1}', "unknown engine argument 'max_squids'"),
        (
            '{"hf_overrides": {"sfllava": {"pathways": "slowfast-slow_10frms"}}}',
            "unknown pathway 'slowfast-slow_10frms'",
        ),
    ],
)
def test_engine_arguments_that_cannot_be(ask, bikes, monkeypatch, engine, message):
    monkeypatch.setattr("tests.engine.test_ask.ENGINE", engine)
    code, _, err = ask(str(bikes), "What is there?")
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
