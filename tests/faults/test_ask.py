"""`sfllava ask` on every input of the table, with one engine."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sfllava_plugin import cli
from sfllava_plugin.engine.offline import runner
from tests.faults import inputs


@pytest.fixture
def ask(made, tiny, monkeypatch, capfd):
    """ask(video, question, ...): the exit code, stdout and stderr of the command."""
    monkeypatch.setattr(runner, "Runner", lambda model, arguments: tiny)

    def call(video, question, *more):
        arguments = ["sfllava", "ask", *more, "--model", "sf-llava-tiny", "--", str(made / video), question]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capfd.readouterr()

    return call


@pytest.mark.parametrize("video", inputs.VIDEOS, ids=lambda video: ascii(video.name)[:40])
def test_videos(ask, good, video):
    code, answer, error = ask(video.name, good.question)
    if video.error is None:
        assert (code, error) == (0, "")
        assert not video.right or answer == f"{good.answer}\n"
    else:
        assert (code, answer) == (2, "")
        check_error(error, video.error)
        assert ask("plain.mp4", good.question) == (0, f"{good.answer}\n", "")


@pytest.mark.parametrize("asked", inputs.QUESTIONS, ids=lambda asked: asked.name)
def test_questions(ask, good, asked):
    options = [word for option in asked.options for word in ("--options", option)]
    # Arguments of a program cannot hold a zero byte.
    question = asked.question.replace("\0", "")
    code, _, error = ask("plain.mp4", question, *options, "--max-tokens", str(asked.max_tokens))
    if asked.error is None:
        assert (code, error) == (0, "")
    else:
        assert code == 2
        check_error(error, asked.error)
    assert ask("plain.mp4", good.question) == (0, f"{good.answer}\n", "")


def check_error(error, words):
    assert re.search(words, error), error
    assert error.startswith("sfllava: ") and error.count("\n") == 1 and len(error) < 800


def test_the_real_command(made, good, command_environment):
    """Run the command in its own process, on two videos."""
    sfllava = Path(sys.executable).with_name("sfllava")

    def run(video):
        call = [sfllava, "ask", made / video, good.question, "--model", "sf-llava-tiny", "--json"]
        return subprocess.run(call, env=command_environment, capture_output=True, text=True)

    bad = run("noise.mp4")
    assert (bad.returncode, bad.stdout) == (2, "")
    check_error(bad.stderr, inputs.UNDECODABLE)
    done = run("plain.mp4")
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["text"] == good.answer
