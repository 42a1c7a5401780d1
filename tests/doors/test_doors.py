"""Every command that users run answers the same questions alike, and correctly."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from sfllava_plugin.shapes import clips
from tests.serving import serve

MODEL = "sf-llava-tiny"
BIN = Path(sys.executable).parent
SEEDS = (0, 1)
#: Share of a handful of questions; the model card has the share of thousands.
LEAST = 0.85


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    changes = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "SFLLAVA_CACHE": str(tmp_path_factory.mktemp("cache")),
    }
    return {k: v for k, v in os.environ.items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"} | changes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("shapes")
    clips.write_folder(place, SEEDS)
    return place


@pytest.fixture(scope="module")
def truth(folder):
    return {row["id"]: row["answer"] for row in rows(folder / "truth.jsonl")}


@pytest.fixture(scope="module")
def batch(folder, environment):
    """Answers by id from `sfllava batch`."""
    out = folder / "answers.jsonl"
    call = [BIN / "sfllava", "batch", folder / "questions.jsonl", "-o", out, "--model", MODEL]
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "questions/s" in done.stderr
    return {row["id"]: row["answer"] or row["text"] for row in rows(out)}


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def share(replies, truth):
    return sum(replies[name] == truth[name] for name in replies) / len(replies)


def test_batch_answers_correctly(batch, truth):
    assert batch.keys() == truth.keys()
    assert share(batch, truth) >= LEAST


def test_batch_asks_nothing_twice(folder, environment, batch):
    out = folder / "answers.jsonl"
    before = out.read_bytes()
    call = [BIN / "sfllava", "batch", folder / "questions.jsonl", "-o", out, "--model", MODEL]
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"0 answered, 0 failed, {len(batch)} before" in done.stderr
    assert out.read_bytes() == before


@pytest.mark.server
def test_the_server_gives_the_answers_of_batch(folder, batch, tmp_path):
    asked = rows(folder / "questions.jsonl")
    arguments = ["--allowed-local-media-path", str(folder)]
    with serve(MODEL, *arguments, log=tmp_path / "log") as url, ThreadPoolExecutor(8) as pool:

        def ask(row):
            content = [
                {"type": "video_url", "video_url": {"url": (folder / row["video"]).as_uri()}},
                {"type": "text", "text": row["question"]},
            ]
            body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 24}
            if "options" in row:
                body["chat_template_kwargs"] = {"options": row["options"]}
            response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120)
            assert response.status_code == 200, response.text
            return response.json()["choices"][0]["message"]["content"].strip()

        replies = list(pool.map(ask, asked))
    for row, reply in zip(asked, replies, strict=True):
        # A multiple-choice reply begins with its letter.
        assert reply[:1] == batch[row["id"]] if "options" in row else reply == batch[row["id"]]


def test_lmms_eval_gives_the_answers_of_batch(batch, environment, truth, tmp_path):
    """The stock command; our task starts with the clips used here."""
    names = {
        "open": [name for name in truth if not name.endswith("-choice")],
        "choice": [name for name in truth if name.endswith("-choice")],
    }
    limit = len(names["choice"])
    call = [BIN / "lmms-eval", "--model", "sfllava", "--model_args", f"pretrained={MODEL}", "--tasks", "sfllava_shapes"]
    tasks = subprocess.run([BIN / "sfllava", "tasks-dir"], capture_output=True, text=True, check=True).stdout.strip()
    call += ["--include_path", tasks, "--limit", str(limit), "--log_samples", "--output_path", tmp_path]
    environment = environment | {"HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(call, env=environment, capture_output=True, text=True, cwd=tmp_path)
    for part, ids in names.items():
        [path] = tmp_path.glob(f"*/*_samples_sfllava_shapes_{part}.jsonl") or pytest.fail(done.stderr[-3000:])
        replies = {ids[row["doc_id"]]: row["filtered_resps"] for row in rows(path)}
        assert len(replies) == limit
        assert replies == {name: batch[name] for name in replies}


def test_a_ray_cluster_gives_the_answers_of_batch(folder, batch, environment):
    """Two engines, with one video missing."""
    asked, out = folder / "with-missing.jsonl", folder / "from-ray.jsonl"
    lines = (folder / "questions.jsonl").read_text(encoding="utf-8")
    asked.write_text(lines + '{"id": 7, "video": "missing.mp4", "question": "what?"}\n', encoding="utf-8")
    call = [BIN / "sfllava", "batch", asked, "-o", out, "--model", MODEL, "--ray", "local", "--replicas", "2"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr[-3000:]
    *answers, missing = rows(out)
    assert {row["id"]: row["answer"] or row["text"] for row in answers} == batch
    assert missing["id"] == 7
    assert "missing.mp4 does not exist" in missing["error"]


def test_vllm_run_batch_gives_the_answers_of_batch(folder, batch, environment, tmp_path):
    """vLLM's own command, with open-ended questions in OpenAI's file format."""
    asked = [row for row in rows(folder / "questions.jsonl") if "options" not in row and row["video"] == "0.mp4"]
    requests, out = tmp_path / "requests.jsonl", tmp_path / "responses.jsonl"
    with requests.open("w", encoding="utf-8") as file:
        for row in asked:
            content = [
                {"type": "video_url", "video_url": {"url": (folder / row["video"]).as_uri()}},
                {"type": "text", "text": row["question"]},
            ]
            body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 24}
            request = {"custom_id": row["id"], "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(request) + "\n")
    call = [BIN / "vllm", "run-batch", "--model", MODEL, "-i", requests, "-o", out]
    call += ["--allowed-local-media-path", folder]
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    replies = {
        row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"].strip() for row in rows(out)
    }
    assert replies == {row["id"]: batch[row["id"]] for row in asked}
