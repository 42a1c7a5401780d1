"""`sfllava batch` on every input: an error affects only its own row."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sfllava_plugin.batch.files import Row
from sfllava_plugin.engine.offline import replicas
from tests.faults import inputs
from tests.workers import kill_workers, replacing_workers, worker_that_runs

SFLLAVA = Path(sys.executable).with_name("sfllava")


@pytest.fixture(scope="module")
def answers(made, good, tmp_path_factory):
    """The output rows by id; a good question follows every other one."""
    rows = []
    for number, video in enumerate(inputs.VIDEOS):
        rows.append({"id": video.name, "video": video.name, "question": good.question})
        rows.append({"id": f"good-{number}", "video": "plain.mp4", "question": good.question})
    for asked in inputs.QUESTIONS:
        more = {"options": asked.options} if asked.options else {}
        row = {"id": asked.name, "video": "plain.mp4", "question": asked.question, "max_tokens": asked.max_tokens}
        rows.append(row | more)
    rows.append({"id": "good-last", "video": "plain.mp4", "question": good.question})
    asked, out = made / "questions.jsonl", tmp_path_factory.mktemp("batch") / "out.jsonl"
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    call = [SFLLAVA, "batch", asked, "-o", out, "--model", "sf-llava-tiny"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    return {row["id"]: row for row in found}


def test_bad_rows_do_not_affect_good_ones(answers, good):
    rows = [row for name, row in answers.items() if name.startswith("good-")]
    assert len(rows) == len(inputs.VIDEOS) + 1
    assert {row.get("text") for row in rows} == {good.answer}


@pytest.mark.parametrize("video", inputs.VIDEOS, ids=lambda video: ascii(video.name)[:40])
def test_videos(answers, good, video):
    check(answers[video.name], video.error, good.answer if video.right else None)


@pytest.mark.parametrize("asked", inputs.QUESTIONS, ids=lambda asked: asked.name)
def test_questions(answers, asked):
    check(answers[asked.name], asked.error, None)


def check(row, error, answer):
    if error is None:
        assert "error" not in row
        assert answer is None or row["text"] == answer
    else:
        assert re.search(error, row["error"]), row["error"]
        assert "\n" not in row["error"] and "Traceback" not in row["error"] and len(row["error"]) < 800


def test_a_bug_in_a_worker_costs_one_row_and_is_not_blamed_on_the_video(tiny, made, good):
    rows = [Row(id=name, video=str(made / name), question=good.question) for name in ("vp8.webm", "plain.mp4")]
    kill_workers()
    with replacing_workers(worker_that_runs("path.nothing if path.endswith('vp8.webm') else None")):
        answers = {row["id"]: row for row in replicas._answer_rows(tiny, rows)}
    kill_workers()
    assert "because of a fault in the program, not in the video: AttributeError" in answers["vp8.webm"]["error"]
    assert answers["plain.mp4"]["text"] == good.answer
