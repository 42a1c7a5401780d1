"""`sfllava versus` with a stand-in for lmms-eval: arguments, skipping, failing, ending."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import sfllava_plugin
from sfllava_plugin.evaluation.compare.versus import Contender, parse
from tests.evaluation.compare.fake_lmms_eval import QUESTIONS, calls, install

TASKS = str(Path(sfllava_plugin.__file__).parent / "evaluation" / "tasks")
LATER = {"date": "20260202_000000"}
TINY, FEW = "sf-llava-tiny", "sf-llava-tiny,frames=4"


@pytest.mark.parametrize(
    ("text", "contender"),
    [
        (TINY, Contender(TINY, "sfllava", "pretrained=sf-llava-tiny")),
        (FEW, Contender(FEW, "sfllava", "pretrained=sf-llava-tiny,frames=4")),
        (f"few={FEW}", Contender("few", "sfllava", "pretrained=sf-llava-tiny,frames=4")),
        ("org/llava-x,frames=4", Contender("org/llava-x,frames=4", "sfllava", "pretrained=org/llava-x,frames=4")),
        ("video_llava:pretrained=a/b", Contender("video_llava:pretrained=a/b", "video_llava", "pretrained=a/b")),
        ("them=vllm:model=a/b,tensor_parallel_size=2", Contender("them", "vllm", "model=a/b,tensor_parallel_size=2")),
        ("dummy:", Contender("dummy:", "dummy", "")),
    ],
)  # fmt: skip
def test_names_are_parsed(text, contender):
    assert parse(text) == contender


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sf-lava", TINY], "unknown model 'sf-lava'"),
        ([TINY], "there is one method only"),
        ([TINY, TINY], "'sf-llava-tiny' and 'sf-llava-tiny' share a folder: give LABEL=sf-llava-tiny"),
        (["", TINY], "names no model"),
    ],
)
def test_wrong_names_are_one_line_and_exit_code_2(sfllava, tmp_path, arguments, message):
    code, out, err = sfllava("versus", *arguments, "--tasks", "one", "-o", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_comma_in_the_output_is_refused(sfllava, tmp_path):
    code, _, err = sfllava("versus", TINY, FEW, "--tasks", "one", "-o", tmp_path / "a,b")
    assert code == 2
    assert "lmms-eval cannot write to a path with a comma" in err


def test_each_method_is_evaluated_once(sfllava, tmp_path, monkeypatch):
    log = install(tmp_path / "fake", monkeypatch)
    arguments = [
        TINY, f"few={FEW}", "them=dummy:response=A", "--tasks", "both, three", "-o", tmp_path / "out",
        "--lmms-eval-args", "--batch_size 4",
    ]  # fmt: skip
    code, out, err = sfllava("versus", *arguments)
    assert code == 0, err
    found = calls(log)
    assert [call["model"] for call in found] == ["sfllava", "sfllava", "dummy"]
    assert [call["model_args"] for call in found] == [f"pretrained={TINY}", f"pretrained={FEW}", "response=A"]
    places = [str(tmp_path / "out" / name) for name in (TINY, "few", "them")]
    assert [call["output_path"] for call in found] == places
    for call in found:
        assert (call["tasks"], call["include_path"], call["log_samples"]) == ("both,three", TASKS, True)
        assert (call["limit"], call["batch_size"]) == (None, "4")
    # lmms-eval's own output is not in the table.
    assert out.startswith("| method | one<br>accuracy, %, n = 40 | two<br>")
    assert "lmms-eval's own table" in err
    assert (tmp_path / "out/comparison.md").read_text() == out
    content = json.loads((tmp_path / "out/comparison.json").read_text())
    assert [method["label"] for method in content["methods"]] == [TINY, "few", "them"]
    assert [each["task"] for each in content["comparisons"]] == ["one", "two", "three"]
    assert "<!doctype html>" in (tmp_path / "out/comparison.html").read_text()

    code, again, err = sfllava("versus", *arguments)
    assert (code, again, len(calls(log))) == (0, out, 3)
    assert err.splitlines() == [f"sfllava: {label}: finished before" for label in (TINY, "few", "them")]


def test_only_missing_tasks_are_evaluated(sfllava, tmp_path, monkeypatch):
    log = install(tmp_path / "fake", monkeypatch)
    assert sfllava("versus", TINY, FEW, "--tasks", "both", "-o", tmp_path / "out")[0] == 0
    install(
        tmp_path / "later", monkeypatch, **{f"pretrained={name}": {"date": "20260202_000000"} for name in (TINY, FEW)}
    )
    code, out, _ = sfllava("versus", TINY, FEW, "--tasks", "both,three", "-o", tmp_path / "out")
    assert code == 0
    assert [call["tasks"] for call in calls(tmp_path / "later/calls.jsonl")] == ["three", "three"]
    assert "one<br>" in out and "three<br>" in out
    assert len(calls(log)) == 2


def test_another_limit_or_other_arguments_are_not_finished(sfllava, tmp_path, monkeypatch):
    log = install(tmp_path / "fake", monkeypatch)
    common = ["--tasks", "one", "-o", tmp_path / "out"]
    assert sfllava("versus", f"a={TINY}", f"b={FEW}", *common, "--limit", "10")[0] == 0
    install(
        tmp_path / "later", monkeypatch, **{f"pretrained={name}": {"date": "20260202_000000"} for name in (TINY, FEW)}
    )
    code, out, _ = sfllava("versus", f"a={TINY}", f"b={FEW}", *common)
    assert code == 0
    assert f"n = {QUESTIONS}" in out
    assert [call["limit"] for call in calls(log)] == [10, 10]
    assert [call["limit"] for call in calls(tmp_path / "later/calls.jsonl")] == [None, None]
    code, out, _ = sfllava("versus", f"a={TINY}", f"b={FEW}", *common, "--limit", "10")
    assert (code, len(calls(tmp_path / "later/calls.jsonl"))) == (0, 2)
    assert "n = 10" in out


def test_a_failed_method_ends_it_with_its_status(sfllava, tmp_path, monkeypatch):
    log = install(tmp_path / "fake", monkeypatch, **{f"pretrained={TINY}": {"status": 3, "nothing": True}})
    code, out, err = sfllava("versus", TINY, FEW, "--tasks", "one", "-o", tmp_path / "out")
    assert (code, out, len(calls(log))) == (3, "", 1)
    assert err.splitlines()[-1] == (
        "sfllava: sf-llava-tiny: lmms-eval ended with status 3 and without results of one; its messages are above; "
        "run the same command to continue"
    )


def test_no_results_are_a_failure_even_with_status_0(sfllava, tmp_path, monkeypatch):
    """lmms-eval itself ends with 0 whatever happens."""
    install(tmp_path / "fake", monkeypatch, **{f"pretrained={FEW}": {"nothing": True}})
    code, out, err = sfllava("versus", TINY, FEW, "--tasks", "one", "-o", tmp_path / "out")
    assert (code, out) == (1, "")
    assert "ended with status 0 and without results of one" in err


def test_keep_going_compares_the_others(sfllava, tmp_path, monkeypatch):
    log = install(tmp_path / "fake", monkeypatch, **{f"pretrained={FEW}": {"nothing": True, "status": 2}})
    names = [TINY, f"few={FEW}", "them=dummy:response=A"]
    code, out, _ = sfllava("versus", *names, "--tasks", "one", "-o", tmp_path / "out", "--keep-going")
    assert (code, len(calls(log))) == (2, 3)
    assert "| them |" in out and "| few |" not in out


def test_failed_questions_do_not_stop_it(sfllava, tmp_path, monkeypatch):
    log = install(tmp_path / "fake", monkeypatch, **{f"pretrained={TINY}": {"status": 1}})
    code, out, _ = sfllava("versus", TINY, f"few={FEW}", "--tasks", "one", "-o", tmp_path / "out")
    assert (code, len(calls(log))) == (1, 2)
    assert "| few |" in out


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_an_end_of_versus_ends_the_child_and_the_same_command_continues(sfllava, tmp_path, monkeypatch, ending):
    log = install(tmp_path / "fake", monkeypatch, **{f"pretrained={FEW}": {"hang": True}})
    arguments = ["versus", TINY, f"few={FEW}", "--tasks", "one", "-o", tmp_path / "out"]
    command = [sys.executable, "-m", "sfllava_plugin.cli", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    while len(calls(log)) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    [child] = psutil.Process(process.pid).children()
    process.send_signal(ending)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "sfllava: interrupted; run the same command to continue"
    assert not child.is_running()
    monkeypatch.setenv("FAKE_PLAN", "{}")
    assert sfllava(*arguments)[0] == 0
    assert [call["model_args"] for call in calls(log)] == [f"pretrained={each}" for each in (TINY, FEW, FEW)]


def test_without_lmms_eval_it_says_what_to_install(sfllava, tmp_path, monkeypatch):
    from sfllava_plugin.evaluation.compare import versus as module

    monkeypatch.setattr(module, "find_spec", lambda _: None)
    code, _, err = sfllava("versus", TINY, FEW, "--tasks", "one", "-o", tmp_path / "out")
    assert code == 2
    assert err.startswith("sfllava: lmms-eval is not installed: pip install '.[eval]'")
