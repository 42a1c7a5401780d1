"""`sfllava ask`: the answer, the JSON, and one line per error."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

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
    """ask(arguments): exit code, output and errors, run in this process."""

    def run(*arguments, model=None):
        command = ["sfllava", "ask", *arguments, "--model", model or str(checkpoints()), "--engine-args", ENGINE]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return stopped.value.code, out, err

    return run


def test_json_has_the_documented_keys_and_the_runners_answer(ask, runners, bikes):
    from sfllava_plugin.engine.offline import Question

    options = ("a red bus", "two bikes")
    chosen = [argument for option in options for argument in ("--options", option)]
    code, out, _ = ask(str(bikes), "What is there?", *chosen, "--max-tokens", "8", "--json")
    printed = json.loads(out)
    assert code == 0
    assert list(printed) == KEYS
    expected = runners().answer(Question(str(bikes), "What is there?", options, 8, logprobs=5))
    assert printed["token_ids"] == expected.token_ids
    assert printed["prompt_token_ids"] == expected.prompt_token_ids
    assert printed | {"logprobs": 0} == dataclasses.asdict(expected) | {"logprobs": 0}
    assert len(printed["logprobs"]) == 5
    # Without `logprobs` there are none.
    assert runners().answer(Question(str(bikes), "What is there?", options, 8)).logprobs == []
    assert printed["answer"] == read_choice(printed["text"], options)


def test_standard_output_is_the_answer_alone(checkpoints, bikes):
    """Run the installed command in a process of its own."""
    command = [os.path.join(os.path.dirname(sys.executable), "sfllava"), "ask", str(bikes), "What is there?"]
    command += ["--model", str(checkpoints()), "--engine-args", ENGINE, "--max-tokens", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_picture_is_asked_about_as_a_picture(ask, runners, tmp_path):
    from sfllava_plugin.engine.offline import Failure, Question

    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)).save(path)
    code, out, err = ask(str(path), "What is it?", "--max-tokens", "8", "--json")
    assert code == 0, err
    printed = json.loads(out)
    # 24 x 24 patches; of two tiles side by side 24 rows of 40 with a newline each, after the whole picture.
    assert printed["video_tokens"] == 24 * 24 + 24 * (40 + 1)
    assert printed["frames"] == []
    assert "key frames" not in printed["prompt"]
    assert printed["token_ids"] == runners().answer(Question((str(path),), "What is it?", max_tokens=8)).token_ids
    # `batch` and Python ask by the path alone.
    by_path = [
        Question(str(path), "What is it?", max_tokens=8),
        Question(str(path), "What is it?", ("a bus", "a bike")),
    ]
    answers = dict(runners().answers(by_path))
    assert answers[0].token_ids == printed["token_ids"]
    assert isinstance(answers[1], Failure) and "options need a video" in str(answers[1].error)
    code, _, err = ask(str(path), "What is it?", "--options", "a bus")
    assert code == 2
    assert "--options need a video" in err
    (tmp_path / "broken.png").write_bytes(b"nothing")
    code, _, err = ask(str(tmp_path / "broken.png"), "What is it?")
    assert code == 2
    assert "broken.png cannot be read as an image" in err


@pytest.fixture
def broken(tmp_path):
    """broken(name): the path of something that is not a video."""
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
def test_unreadable_videos_are_errors(ask, broken, name):
    code, out, err = ask(broken(name), "What is there?")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("sfllava: ")
    assert name in err


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("sf-lava", "unknown model 'sf-lava': use one of sf-llava"),
        ("nobody/nothing", "checkpoint 'nobody/nothing' is not a local folder, and cannot be fetched from the hub"),
    ],
)
def test_unknown_models_are_errors(ask, bikes, model, message):
    code, out, err = ask(str(bikes), "What is there?", model=model)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_question_longer_than_the_context_is_an_error(ask, bikes):
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
def test_invalid_engine_arguments_are_errors(ask, bikes, monkeypatch, engine, message):
    monkeypatch.setattr("tests.engine.test_ask.ENGINE", engine)
    code, _, err = ask(str(bikes), "What is there?")
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
