"""SIGKILL at random moments leaves the final output complete and in order."""

import json
import random
import signal
import subprocess
import sys
import time

#: The command without an engine: answers come one at a time, not in the order of the questions.
PROGRAM = """
import sys, time
from sfllava_plugin.batch.command import run

def answering(rows):
    for row in sorted(rows, key=lambda row: hash(row.id) % 7):
        time.sleep(0.002)
        yield {"id": row.id, "text": "answer " * (row.id % 50)}

sys.exit(run(sys.argv[1], sys.argv[2], answering, dict))
"""
COUNT = 400


def test_a_job_killed_at_random_moments_completes(tmp_path):
    asked, out = tmp_path / "questions.jsonl", tmp_path / "out.jsonl"
    rows = [{"id": number, "video": f"{number % 9}.mp4", "question": "?"} for number in range(COUNT)]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command, part = [sys.executable, "-c", PROGRAM, str(asked), str(out)], tmp_path / "out.jsonl.part"
    rng, kills = random.Random(0), 0
    while not out.exists():
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        # Kill it after a few answers, at any point of writing the next.
        before = part.stat().st_size if part.exists() else 0
        while kills < 5 and process.poll() is None and (not part.exists() or part.stat().st_size <= before):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        if kills < 5:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills == 5
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in found] == list(range(COUNT))
    assert all(row["text"] == "answer " * (row["id"] % 50) for row in found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.jsonl.keys", "questions.jsonl"]


def test_an_interrupt_keeps_the_finished_answers(tmp_path):
    asked, out = tmp_path / "questions.jsonl", tmp_path / "out.jsonl"
    rows = [{"id": number, "video": "v.mp4", "question": "?"} for number in range(COUNT)]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command, part = [sys.executable, "-c", PROGRAM, str(asked), str(out)], tmp_path / "out.jsonl.part"
    for ending in (signal.SIGINT, signal.SIGTERM):
        before = part.stat().st_size if part.exists() else 0
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while not part.exists() or part.stat().st_size <= before:
            time.sleep(0.001)
        process.send_signal(ending)
        _, err = process.communicate()
        assert process.returncode == 130
        assert "finished answers are kept" in err.splitlines()[-1]
        assert part.stat().st_size > before
    assert not out.exists()


def test_an_interrupted_stream_starts_over(tmp_path):
    asked = tmp_path / "questions.jsonl"
    rows = [{"id": number, "video": "v.mp4", "question": "?"} for number in range(COUNT)]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-c", PROGRAM, str(asked), "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == (
        "sfllava: interrupted; unwritten answers are lost; the same command starts from the beginning"
    )
