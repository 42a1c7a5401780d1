"""Every registered name answers a prompt, a picture and a video, through every command alike.

The checkpoints are random ones of each name's shape. `make doors` runs one name of each family, `make names` all.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from sfllava_plugin.checkpoints.families import FAMILIES, find
from tests.named_checkpoints import FEW, NamedCheckpoints, entries, marked, pairs
from tests.serving import serve

BIN = Path(sys.executable).parent
NAMES = tuple(entries())
QUESTIONS = {
    "prompt": "Which colours does a rainbow have?",
    "picture": "What is in the picture?",
    "video": "What is happening?",
}
TOKENS = 12
TASK = """
task: every_door
dataset_path: json
dataset_kwargs: {data_files: {test: documents.jsonl}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: question
doc_to_target: kind
process_results: !function utils.process_results
generation_kwargs: {max_new_tokens: %d, do_sample: false}
metric_list: [{metric: asked, aggregation: mean, higher_is_better: true}]
metadata: {version: 1.0}
"""
UTILS = """
from PIL import Image

def doc_to_visual(doc):
    if doc["kind"] == "prompt":
        return []
    return [Image.open(doc["file"])] if doc["kind"] == "picture" else [doc["file"]]

def process_results(doc, results):
    return {"asked": 1.0}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory, bikes):
    """What the questions are about, in a folder with their lmms-eval task."""
    folder = tmp_path_factory.mktemp("media")
    shutil.copy(bikes, folder / "video.mp4")
    noise = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    Image.fromarray(noise).save(folder / "picture.png")
    found = {"prompt": None, "picture": folder / "picture.png", "video": folder / "video.mp4"}
    rows = [{"kind": kind, "question": QUESTIONS[kind], "file": str(file)} for kind, file in found.items()]
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "every_door.yaml").write_text(TASK % TOKENS, encoding="utf-8")
    (folder / "utils.py").write_text(UTILS, encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment of a user with a registry of random checkpoints, under the packaged names."""
    named = NamedCheckpoints(tmp_path_factory.mktemp("named"))
    changes = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(tmp_path_factory.mktemp("hf")),
        "SFLLAVA_CACHE": str(tmp_path_factory.mktemp("cache")),
        "SFLLAVA_REGISTRY": str(named.registry(list(NAMES))),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    return {k: v for k, v in os.environ.items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"} | changes


@pytest.fixture(scope="module")
def served(environment, files, tmp_path_factory):
    """served(name): the answers of `vllm serve`."""
    answers = {}

    def ask(name: str) -> dict[str, str]:
        if name not in answers:
            log = tmp_path_factory.mktemp("server") / "log"
            folder = str(files["video"].parent)
            with serve(name, "--allowed-local-media-path", folder, log=log, **environment) as url:
                answers[name] = {kind: chat(url, name, kind, file) for kind, file in files.items()}
        return answers[name]

    return ask


def chat(url: str, name: str, kind: str, file: Path | None) -> str:
    content = [{"type": "text", "text": QUESTIONS[kind]}]
    if file:
        part = {"picture": "image_url", "video": "video_url"}[kind]
        content.insert(0, {"type": part, part: {"url": file.as_uri()}})
    body = {"model": name, "messages": [{"role": "user", "content": content}], "max_tokens": TOKENS, "temperature": 0}
    response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=300)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"].strip()


def asked(environment, name: str, kind: str, file: Path) -> str:
    """The answer of `sfllava ask`."""
    call = [BIN / "sfllava", "ask", file, QUESTIONS[kind], "--model", name, "--max-tokens", str(TOKENS), "--json"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)["text"]


def evaluated(environment, name: str, folder: Path, out: Path) -> dict[str, str]:
    """The answers that lmms-eval logs."""
    call = [BIN / "lmms-eval", "--model", "sfllava", "--model_args", f"pretrained={name},journal=none"]
    call += ["--tasks", "every_door", "--include_path", folder, "--log_samples", "--output_path", out]
    done = subprocess.run(call, env=environment, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    [path] = out.glob("*/*_samples_every_door.jsonl")
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kinds = list(QUESTIONS)
    return {kinds[row["doc_id"]]: row["filtered_resps"] for row in found}


@pytest.mark.parametrize("name", marked(NAMES))
def test_every_command_gives_the_same_answers(environment, files, served, tmp_path, name):
    answers = served(name)
    assert answers.keys() == QUESTIONS.keys()
    assert all(answers.values())
    assert len(set(answers.values())) == len(answers), "the answers do not depend on what was shown"
    assert evaluated(environment, name, files["video"].parent, tmp_path) == answers
    # `make doors` saves a start: tests/engine/test_ask.py asks about a picture.
    for kind in ("video",) if name in FEW else ("picture", "video"):
        assert asked(environment, name, kind, files[kind]) == answers[kind]


@pytest.mark.names
@pytest.mark.parametrize(("name", "original"), pairs())
def test_both_formats_give_the_same_answers(served, name, original):
    assert served(name) == served(original)


def test_the_few_names_are_of_every_family_and_format(tmp_path):
    named = NamedCheckpoints(tmp_path)
    found = [find(Path(named.entry(name).checkpoint)) for name in FEW]
    assert sorted(family.name for family, _ in found) == sorted(family.name for family in FAMILIES)
    assert {form for _, form in found} == {"hf", "original"}
