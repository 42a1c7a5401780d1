"""An evaluation that is killed goes on where it stopped: nothing asked twice, nothing lost, the same results."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import sfllava_plugin

BIN = Path(sys.executable).parent
TASKS_FOLDER = Path(sfllava_plugin.__file__).parent / "evaluation" / "tasks"
LIMIT = 400


def command(out, journal):
    arguments = f"pretrained=sf-llava-tiny,journal={journal}"
    call = [BIN / "lmms-eval", "--model", "sfllava", "--model_args", arguments, "--tasks", "sfllava_shapes"]
    return [*call, "--include_path", TASKS_FOLDER, "--limit", str(LIMIT), "--log_samples", "--output_path", out]


def kept(journal):
    lines = [line for file in journal.glob("*/*.jsonl") for line in file.read_bytes().splitlines()]
    return [json.loads(line)["key"] for line in lines if line.endswith(b"}")]


def samples(out):
    found = {}
    for path in out.glob("*/*_samples_*.jsonl"):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found[path.name.split("_samples_")[1]] = [(row["doc_id"], row["filtered_resps"]) for row in rows]
    return found


def test_killed_and_run_again(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    environment |= {"SFLLAVA_CACHE": str(tmp_path / "cache")}
    settings = {"env": environment, "cwd": tmp_path, "stdout": subprocess.DEVNULL}
    whole, journal = tmp_path / "whole", tmp_path / "journal"
    subprocess.run(command(whole, tmp_path / "other"), stderr=subprocess.DEVNULL, check=True, **settings)

    process = subprocess.Popen(command(tmp_path / "killed", journal), stderr=subprocess.DEVNULL, **settings)
    while not kept(journal) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = len(kept(journal))
    assert 0 < before < 2 * LIMIT
    assert not samples(tmp_path / "killed")

    again = subprocess.run(command(tmp_path / "again", journal), stderr=subprocess.PIPE, text=True, **settings)
    assert again.returncode == 0, again.stderr[-3000:]
    assert f"{before} answers from the journal" in again.stderr
    assert len(kept(journal)) == len(set(kept(journal)))
    assert samples(tmp_path / "again") == samples(whole)
    assert sum(len(rows) for rows in samples(whole).values()) == 2 * LIMIT
