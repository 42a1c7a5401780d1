"""`sfllava versus` with the real lmms-eval: two ablations of sf-llava-tiny and a foreign model, killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from scipy import stats

LIMIT = 60
FEW, COARSE = "few=sf-llava-tiny,frames=2", "coarse=sf-llava-tiny,pathways=temporal_global_pool"
FOREIGN = "dummy=dummy:response=A"
TASKS = ("sfllava_shapes_open", "sfllava_shapes_choice")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Arguments of `subprocess` for every run."""
    folder = tmp_path_factory.mktemp("settings")
    environment = {k: v for k, v in os.environ.items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    environment |= {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    environment |= {"SFLLAVA_CACHE": str(folder / "cache")}
    return {"env": environment, "cwd": folder, "text": True}


def command(*names, out):
    found = [sys.executable, "-m", "sfllava_plugin.cli", "versus", *names, "--tasks", "sfllava_shapes"]
    return [*found, "--limit", str(LIMIT), "-o", str(out)]


def samples(folder, task):
    """Right or wrong by doc_id, read without our reader."""
    paths = sorted(folder.rglob(f"*_samples_{task}.jsonl"))
    found = [json.loads(line) for line in paths[-1].read_text(encoding="utf-8").splitlines()]
    return {row["doc_id"]: row["accuracy"] == 1.0 for row in found}


def end_tree(process):
    """Kill versus and its children as a machine that goes down does."""
    tree = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in tree:
        each.send_signal(signal.SIGKILL)
    process.wait()


def test_two_ablations_killed_in_the_middle_give_the_difference_of_a_direct_count(settings, tmp_path):
    out, call = tmp_path / "out", command(FEW, COARSE, FOREIGN, out=tmp_path / "out")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=log, **settings)
        # The first method is finished, and the second one has begun.
        while "coarse: evaluating" not in (tmp_path / "log").read_text():
            assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.2)
        time.sleep(3)
        end_tree(process)
    assert not list((out / "coarse").rglob("*_results.json"))
    before = {path: path.stat().st_mtime_ns for path in (out / "few").rglob("*_samples_*")}
    assert len(before) == 2

    done = subprocess.run(call, capture_output=True, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "few: finished before" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in (out / "few").rglob("*_samples_*")} == before

    content = json.loads((out / "comparison.json").read_text())
    assert [each["task"] for each in content["comparisons"]] == list(TASKS)
    for each in content["comparisons"]:
        first = samples(out / "few", each["task"])
        assert each["questions"] == len(first) == LIMIT
        assert each["clustered_by"] == "video"
        for label in ("coarse", "dummy"):
            second = samples(out / label, each["task"])
            b = sum(second[doc_id] and not first[doc_id] for doc_id in first)
            c = sum(first[doc_id] and not second[doc_id] for doc_id in first)
            difference = each["methods"][label]["difference"]
            assert (difference["b"], difference["c"]) == (b, c)
            assert difference["value"] == pytest.approx(100 * (b - c) / LIMIT)
            assert difference["p"] == pytest.approx(stats.binomtest(b, b + c).pvalue if b + c else 1.0)
            assert each["methods"][label]["value"] == pytest.approx(100 * sum(second.values()) / LIMIT)
    tokens = {method["label"]: method for method in content["methods"]}
    assert tokens["few"]["tasks"][TASKS[0]]["has_trace"]
    assert not tokens["dummy"]["tasks"][TASKS[0]]["has_trace"]
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in page

    again = subprocess.run(call, capture_output=True, **settings)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert again.stderr.count("finished before") == 3


def test_a_method_against_itself_gives_nothing(settings, tmp_path):
    names = ["one=sf-llava-tiny", "two=sf-llava-tiny"]
    done = subprocess.run(command(*names, out=tmp_path / "out"), capture_output=True, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    for each in json.loads((tmp_path / "out/comparison.json").read_text())["comparisons"]:
        difference = each["methods"]["two"]["difference"]
        assert (difference["value"], difference["b"], difference["c"]) == (0, 0, 0)
        assert (difference["p"], difference["p_holm"], difference["p_over_videos"]) == (1, 1, 1)


def test_a_method_that_does_not_start_is_named(settings, tmp_path):
    names = ["sf-llava-tiny,frames=0", "dummy=dummy:response=A"]
    done = subprocess.run(command(*names, out=tmp_path / "out"), capture_output=True, **settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(
        "sfllava: sf-llava-tiny,frames=0: lmms-eval ended with status 2 and without results of sfllava_shapes"
    )
