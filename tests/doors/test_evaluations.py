"""Killed evaluations, and several processes: nothing is lost or asked twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import sfllava_plugin

BIN = Path(sys.executable).parent
TASKS_FOLDER = Path(sfllava_plugin.__file__).parent / "evaluation" / "tasks"
LIMIT = 400


def arguments(out, journal, limit=LIMIT):
    found = ["--model", "sfllava", "--model_args", f"pretrained=sf-llava-tiny,journal={journal}"]
    found += ["--tasks", "sfllava_shapes", "--include_path", TASKS_FOLDER, "--limit", str(limit)]
    return [*found, "--log_samples", "--output_path", out]


def command(out, journal):
    return [BIN / "lmms-eval", *arguments(out, journal)]


def kept(journal):
    lines = [line for file in journal.glob("*/*.jsonl") for line in file.read_bytes().splitlines(keepends=True)]
    return [json.loads(line)["key"] for line in lines if line.endswith(b"}\n")]


def samples(out):
    found = {}
    for path in out.glob("*/*_samples_*.jsonl"):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found[path.name.split("_samples_")[1]] = [(row["doc_id"], row["filtered_resps"]) for row in rows]
    return found


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Arguments of `subprocess` for every run."""
    folder = tmp_path_factory.mktemp("settings")
    environment = {k: v for k, v in os.environ.items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    environment |= {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    environment |= {"SFLLAVA_CACHE": str(folder / "cache")}
    return {"env": environment, "cwd": folder, "stdout": subprocess.DEVNULL}


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """Samples of an undisturbed run."""
    out = tmp_path_factory.mktemp("whole")
    subprocess.run(command(out, "none"), stderr=subprocess.DEVNULL, check=True, **settings)
    found = samples(out)
    assert sum(len(rows) for rows in found.values()) == 2 * LIMIT
    return found


def test_a_killed_evaluation_resumes(settings, whole, tmp_path):
    journal, rng = tmp_path / "journal", random.Random(0)
    for ending in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        before = len(kept(journal))
        process = subprocess.Popen(command(tmp_path / "killed", journal), stderr=subprocess.DEVNULL, **settings)
        while len(kept(journal)) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(ending)
        process.wait()
        assert before < len(kept(journal)) < 2 * LIMIT
        assert not samples(tmp_path / "killed")

    before = len(set(kept(journal)))
    again = subprocess.run(command(tmp_path / "again", journal), stderr=subprocess.PIPE, text=True, **settings)
    assert again.returncode == 0, again.stderr[-3000:]
    assert f"{before} answers from the journal" in again.stderr
    assert len(kept(journal)) == len(set(kept(journal)))
    assert samples(tmp_path / "again") == whole


def test_an_evaluation_whose_engine_dies_keeps_its_answers(settings, tmp_path):
    journal = tmp_path / "journal"
    own_process = settings | {"env": settings["env"] | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}}
    call = command(tmp_path / "out", journal)
    process = subprocess.Popen(call, stderr=subprocess.PIPE, text=True, **own_process)
    while not kept(journal) and process.poll() is None:
        time.sleep(0.01)
    [engine] = [child for child in psutil.Process(process.pid).children() if "EngineCor" in child.name()]
    engine.send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 3, said[-3000:]
    assert "Traceback" not in said
    assert "sfllava: the engine died: its process was killed" in said.splitlines()[-1]
    assert "answers so far are kept" in said.splitlines()[-1]
    assert 0 < len(kept(journal)) < 2 * LIMIT
    assert not samples(tmp_path / "out")


def test_a_model_that_cannot_be_loaded_gives_one_line_and_exit_status_2(settings, tmp_path):
    call = [BIN / "lmms-eval", "--model", "sfllava", "--model_args", "pretrained=sf-lava", "--tasks", "sfllava_shapes"]
    call += ["--include_path", TASKS_FOLDER]
    done = subprocess.run(call, stderr=subprocess.PIPE, text=True, **settings)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("sfllava: unknown model 'sf-lava'")


def test_two_processes_give_the_answers_of_one(settings, whole, tmp_path):
    """With an odd number of questions, one process gets padding.

    Each video goes to one process.
    """
    journal = tmp_path / "journal"
    call = [BIN / "torchrun", "--nproc-per-node", "2", "-m", "lmms_eval", *arguments(tmp_path, journal, 21)]
    done = subprocess.run(call, stderr=subprocess.PIPE, text=True, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    found = samples(tmp_path)
    # lmms-eval writes one process's samples after the other's.
    assert {task: sorted(rows) for task, rows in found.items()} == {task: rows[:21] for task, rows in whole.items()}
    [folder] = tmp_path.glob("*_sfllava")
    sent = [line for path in folder.glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(sent) == 2 * 21
    first, second = ([json.loads(line)["answer"]["video"] for line in lines] for lines in kept_by_process(journal))
    assert not set(first) & set(second)
    assert len(first) + len(second) == 2 * 21
    assert min(len(first), len(second)) >= 15


def kept_by_process(journal):
    return [path.read_text(encoding="utf-8").splitlines() for path in sorted(journal.glob("*/*.jsonl"))]
