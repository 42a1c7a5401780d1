"""Stock tasks, unchanged and offline, with lmms-eval's command and an engine."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import sfllava_plugin
from tests import releases as question_files
from tests import stock_tasks

MODEL = "sf-llava-tiny"
BIN = Path(sys.executable).parent
TASKS_FOLDER = Path(sfllava_plugin.__file__).parent / "evaluation" / "tasks"


class Judge(BaseHTTPRequestHandler):
    """An OpenAI-compatible judge, which looks for the answer in the prediction."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        answer, prediction = (
            re.search(rf"{name}: (.*)", text)[1].strip().lower() for name in ("Correct Answer", "Predicted Answer")
        )
        right = answer in prediction
        verdict = f"'pred': '{'yes' if right else 'no'}', " if "'pred'" in text else ""
        content = f"{{{verdict}'score': {5 if right else 0}}}"
        reply = json.dumps({"model": "judge", "choices": [{"message": {"content": content}}]}).encode()
        self.server.asked.append(text)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def judge():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


@pytest.fixture(scope="module")
def environment(tmp_path_factory, judge):
    home = tmp_path_factory.mktemp("hf")
    releases = tmp_path_factory.mktemp("releases")
    stock_tasks.write(home)
    question_files.write_releases(releases)
    changes = {
        "HF_HOME": str(home),
        "SFLLAVA_DATA": str(releases),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "API_TYPE": "openai",
        "OPENAI_API_URL": f"http://127.0.0.1:{judge.server_port}/v1/chat/completions",
        "OPENAI_API_KEY": "none",
        "MODEL_VERSION": "judge",
        "SFLLAVA_CACHE": str(tmp_path_factory.mktemp("cache")),
    }
    return {name: value for name, value in os.environ.items() if name != "VLLM_ENABLE_V1_MULTIPROCESSING"} | changes


def evaluate(environment, out, *tasks, limit=None, **model_args):
    arguments = ",".join(f"{name}={value}" for name, value in ({"pretrained": MODEL} | model_args).items())
    call = [BIN / "lmms-eval", "--model", "sfllava", "--model_args", arguments, "--tasks", ",".join(tasks)]
    call += ["--include_path", TASKS_FOLDER, "--log_samples", "--output_path", out]
    call += ["--limit", str(limit)] if limit else []
    return subprocess.run(call, env=environment, cwd=out, capture_output=True, text=True, timeout=1200)


def results_of(out):
    [path] = out.glob("*/*_results.json")
    return json.loads(path.read_text(encoding="utf-8"))


def samples_of(out, task):
    [path] = out.glob(f"*/*_samples_{task}.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def finished(environment, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    done = evaluate(environment, out, *stock_tasks.TASKS)
    assert done.returncode == 0, done.stderr[-4000:]
    return out, done


def test_every_task_has_results(finished):
    out, done = finished
    results = results_of(out)["results"]
    for task in stock_tasks.TASKS:
        numbers = [value for name, value in results[task].items() if isinstance(value, int | float)]
        assert numbers, (task, done.stderr[-3000:])


@pytest.mark.parametrize("task", stock_tasks.BY_LETTER)
def test_replies_are_letters(finished, task):
    replies = [row["filtered_resps"] for row in samples_of(finished[0], task)]
    assert len(replies) == len(stock_tasks.SEEDS)
    assert all(reply in list("ABCDE") for reply in replies), replies


def test_prompts_are_traced_beside_the_samples(finished):
    out, _ = finished
    [folder] = out.glob("*_sfllava")
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert run["versions"]["vllm"].startswith("0.32")
    for task in stock_tasks.TASKS:
        rows = [json.loads(line) for line in (folder / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()]
        assert all(row["prompt"].count("<image>") == 1 and row["frames"] for row in rows)
        ending = "Best option:(" if task in stock_tasks.BY_LETTER else "Answer: In the video,"
        assert all(row["prompt"].endswith(ending) for row in rows), task


def test_the_judge_scores_open_ended_answers(finished, judge):
    results = results_of(finished[0])["results"]["activitynetqa"]
    # The first open-ended question is about a colour or a shape, which the model knows.
    assert results["gpt_eval_accuracy,none"] > 50
    assert len(judge.asked) >= 5 * len(stock_tasks.SEEDS)


def test_results_include_throughput(finished):
    throughput = results_of(finished[0])["throughput"]
    assert throughput["total_gen_tokens"] > 0
    assert throughput["avg_questions_per_second"] > 0


def test_a_second_run_asks_nothing(finished, environment, tmp_path):
    out, _ = finished
    done = evaluate(environment, tmp_path, "nextqa_mc_test", "egoschema_subset_mcppl")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{len(stock_tasks.SEEDS)} answers from the journal" in done.stderr
    for task in ("nextqa_mc_test", "egoschema_subset_mcppl"):
        before = [row["filtered_resps"] for row in samples_of(out, task)]
        assert [row["filtered_resps"] for row in samples_of(tmp_path, task)] == before


def test_stock_tasks_about_pictures(environment, tmp_path):
    """The questions are the tasks' own text in the model's conversation, with a marker for each picture."""
    done = evaluate(environment, tmp_path, *stock_tasks.PICTURES)
    assert done.returncode == 0, done.stderr[-4000:]
    [folder] = tmp_path.glob("*_sfllava")
    for task, markers in (("mme", [1] * 6), ("scienceqa_img", [1, 0, 1])):
        assert all(row["filtered_resps"] for row in samples_of(tmp_path, task))
        rows = [json.loads(line) for line in (folder / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [row["prompt"].count("<image>") for row in rows] == markers
        assert all(row["prompt"].endswith(("phrase. ASSISTANT:", "directly. ASSISTANT:")) for row in rows)
    again = evaluate(environment, tmp_path, *stock_tasks.PICTURES)
    assert "9 answers from the journal" in again.stderr
    assert not list(Path(environment["SFLLAVA_CACHE"]).glob("evaluation/pictures-*"))


def test_a_missing_video_costs_only_its_own_questions(environment, tmp_path):
    broken = Path(environment["HF_HOME"]) / "mlvu" / "1.mp4"
    aside = broken.rename(broken.with_suffix(".aside"))
    try:
        done = evaluate(environment, tmp_path, "mlvu_dev", "videomme")
    finally:
        aside.rename(broken)
    assert done.returncode == 1
    assert "1 of 6 questions could not be answered" in done.stderr
    assert "mlvu/1.mp4" in done.stderr
    replies = [row["filtered_resps"] for row in samples_of(tmp_path, "mlvu_dev")]
    assert [bool(reply) for reply in replies] == [True, False, True]


def test_one_name_runs_the_papers_benchmarks(environment, tmp_path):
    done = evaluate(environment, tmp_path, "sfllava_paper", limit=len(stock_tasks.SEEDS))
    assert done.returncode == 0, done.stderr[-4000:]
    results = results_of(tmp_path)["results"]
    for task in ("msvd_qa_val", "msrvtt_qa_val", "tgif_frameqa", "activitynetqa"):
        assert results[task]["gpt_eval_accuracy,none"] > 50, task
        assert 0 <= results[task]["gpt_eval_score,none"] <= 5
    assert 0 <= results["intentqa_val"]["accuracy,none"] <= 1
    assert 0 <= results["nextqa_mc_val"]["exact_match,none"] <= 1
    assert {"egoschema_subset", "videochatgpt_gen", "videochatgpt_consistency"} <= results.keys()
    for task in ("intentqa_val", "nextqa_mc_val"):
        replies = [row["filtered_resps"] for row in samples_of(tmp_path, task)]
        assert len(replies) == len(stock_tasks.SEEDS) and set(replies) <= set("ABCDE")


def test_the_test_splits_stay_by_their_names(environment, tmp_path):
    done = evaluate(environment, tmp_path, "msvd_qa", "msrvtt_qa", "intentqa")
    assert done.returncode == 0, done.stderr[-4000:]
    for task in ("msvd_qa", "msrvtt_qa", "intentqa"):
        assert len(samples_of(tmp_path, task)) == len(stock_tasks.SEEDS)


def test_questions_of_another_split_are_refused_in_one_line(environment, tmp_path):
    releases = tmp_path / "releases"
    question_files.write_questions(releases)
    (releases / "msvd_qa" / "test_qa.json").rename(releases / "msvd_qa" / "val_qa.json")
    done = evaluate(environment | {"SFLLAVA_DATA": str(releases)}, tmp_path, "msvd_qa_val")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "sfllava: msvd_qa_val needs the validation split of MSVD-QA (questions: 3 instead of 6415): "
        "download its file again"
    )
