"""`sfllava batch`, killed at twenty random moments, answers every question once."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sfllava_plugin.shapes import clips

SFLLAVA = Path(sys.executable).with_name("sfllava")
KILLS = 20
#: Far more clips than can be answered between two kills.
CLIPS = range(300, 500)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("shapes")
    clips.write_folder(place, CLIPS)
    return place


def command(folder, out):
    return [SFLLAVA, "batch", folder / "questions.jsonl", "-o", out, "--model", "sf-llava-tiny"]


def test_twenty_kills(folder, tmp_path, command_environment):
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    rng, with_answers = random.Random(0), 0
    for kill in range(KILLS):
        before = part.stat().st_size if part.exists() else 0
        process = subprocess.Popen(command(folder, out), stderr=subprocess.PIPE, env=command_environment)
        if kill % 4:
            while process.poll() is None and (not part.exists() or part.stat().st_size == before):
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.4))
        else:
            # While it reads the questions, prepares the model or starts the engine.
            time.sleep(rng.uniform(0, 10))
        process.send_signal(rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
        process.communicate()
        with_answers += part.exists() and part.stat().st_size > before
        assert not out.exists(), "it finished before the last kill: add clips"
    assert with_answers >= KILLS / 2

    done = subprocess.run(command(folder, out), env=command_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    whole = tmp_path / "whole.jsonl"
    subprocess.run(command(folder, whole), env=command_environment, check=True, capture_output=True)
    assert out.read_bytes() == whole.read_bytes()
    asked = [json.loads(line)["id"] for line in (folder / "questions.jsonl").read_text().splitlines()]
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == asked
    assert (tmp_path / "out.jsonl.keys").read_bytes() == (tmp_path / "whole.jsonl.keys").read_bytes()
    names = ["out.jsonl", "out.jsonl.keys", "whole.jsonl", "whole.jsonl.keys"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
