"""Engines that fail to start, or die.

They run in a process of their own, as on a GPU. Either failure is reported in one line, and no answer is lost.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.errors import EngineDied, EngineStartError
from sfllava_plugin.registry import Entry
from sfllava_plugin.shapes import clips
from tests.faults import inputs

SFLLAVA = Path(sys.executable).with_name("sfllava")
#: More clips than can be answered between the first answer and the kill.
CLIPS = range(600, 700)


@pytest.fixture
def run(command_environment):
    """run(argument, ...): run the command, with its engine in another process."""
    environment = command_environment | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}

    def call(*arguments, until=lambda process: None):
        process = subprocess.Popen(
            [SFLLAVA, *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(process)
        out, err = process.communicate(timeout=500)
        return process.returncode, out, err

    return call


@pytest.fixture(scope="module")
def truncated(small_hf, tmp_path_factory):
    """A model directory whose checkpoint has lost the last kilobyte of its weights."""
    folder = tmp_path_factory.mktemp("truncated") / "llava"
    shutil.copytree(small_hf, folder)
    directory = prepare(Entry(name="llava", checkpoint=str(folder)), folder.with_name("prepared"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return directory


def check_line(err, *words):
    """Check the line, and the log that it names."""
    assert err.startswith("sfllava: ")
    assert err.count("\n") == 1 and len(err) < 800
    for word in words:
        assert word in err
    log = Path(err.rstrip("\n").partition("full log: ")[2].partition(";")[0])
    assert "Traceback" in log.read_text()
    log.unlink()


def test_a_failed_start_in_the_engine_process(run, made, good):
    engine = json.dumps({"kv_cache_memory_bytes": 100_000})
    video = made / "plain.mp4"
    code, out, err = run("ask", video, good.question, "--model", "sf-llava-tiny", "--engine-args", engine)
    assert (code, out) == (2, "")
    check_line(err, "the engine did not start: ValueError: No available memory for the cache blocks")


def test_weights_truncated_before_they_are_prepared(run, made, good, truncated):
    folder = truncated.with_name("llava")
    code, out, err = run("ask", made / "plain.mp4", good.question, "--model", folder)
    assert (code, out) == (2, "")
    assert err.startswith(f"sfllava: {folder}/model.safetensors: is damaged (") and err.count("\n") == 1


def test_weights_truncated_after_they_were_prepared(run, made, good, truncated):
    engine = json.dumps({"kv_cache_memory_bytes": 2**26})
    code, out, err = run("ask", made / "plain.mp4", good.question, "--model", truncated, "--engine-args", engine)
    assert (code, out) == (2, "")
    check_line(err, "the engine did not start: ", "SafetensorError")


def test_a_question_that_does_not_fit(run, made):
    code, out, err = run("ask", made / "plain.mp4", "Why? " * 1000, "--model", "sf-llava-tiny")
    assert (code, out) == (2, "")
    assert err.startswith("sfllava: ") and err.count("\n") == 1
    assert "maximum context length is 1024 tokens" in err


def test_a_killed_engine_loses_no_answer(run, tmp_path):
    clips.write_folder(tmp_path / "shapes", CLIPS)
    questions, out = tmp_path / "shapes" / "questions.jsonl", tmp_path / "out.jsonl"
    part = tmp_path / "out.jsonl.part"

    def kill_engine(process):
        while process.poll() is None and not (part.exists() and part.stat().st_size):
            time.sleep(0.01)
        # The process sets its own name, of which Linux keeps fifteen characters.
        [engine] = [child for child in psutil.Process(process.pid).children() if "EngineCor" in child.name()]
        engine.send_signal(signal.SIGKILL)

    call = ["batch", questions, "-o", out, "--model", "sf-llava-tiny"]
    code, _, err = run(*call, until=kill_engine)
    assert code == 3
    assert "Traceback" not in err
    first, *_, last = err.splitlines()
    assert first == "sfllava: loading sf-llava-tiny"
    check_line(f"{last}\n", "the engine died: its process was killed", "finished answers are kept")
    asked = [json.loads(line)["id"] for line in questions.read_text().splitlines()]
    answered = len(part.read_text().splitlines())
    assert 0 < answered < len(asked)

    # The same command continues.
    code, _, err = run(*call)
    assert code == 0, err[-2000:]
    assert f"{answered} before" in err
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == asked

    # No question is left, so no model is loaded.
    code, _, err = run(*call)
    assert code == 0
    assert "loading" not in err


#: Sends a request after vLLM's client has closed its sockets, but past its own check: the moment of the race.
SENDING_TO_THE_DEAD = """
import sys, time
import psutil
from vllm import SamplingParams
from sfllava_plugin.engine.offline import Runner

runner = Runner("sf-llava-tiny", {"kv_cache_memory_bytes": 2**26})
core = runner.engine.llm_engine.engine_core
[engine] = [child for child in psutil.Process().children() if "EngineCor" in child.name()]
engine.kill()
while not (core.resources.engine_dead and core.input_socket.closed):
    time.sleep(0.01)
core.ensure_alive = lambda: None
try:
    runner._engine.add_request("0", {"prompt_token_ids": [1, 2]}, SamplingParams())
except Exception as error:
    print(type(error).__name__, error)
runner._engine.abort_request(["0"])
"""


def test_a_request_to_an_engine_that_has_just_died(command_environment):
    environment = command_environment | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    call = [sys.executable, "-c", SENDING_TO_THE_DEAD]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    kind, _, message = done.stdout.partition(" ")
    assert kind == "EngineDied"
    check_line(f"sfllava: {message}", "the engine died: its process was killed")


@pytest.mark.parametrize("level", ["ERROR", "INFO"])
def test_a_failed_start_in_this_process(truncated, monkeypatch, capfd, level):
    """With VLLM_LOGGING_LEVEL set by the user, nothing is hidden."""
    from sfllava_plugin.engine.offline.runner import Runner

    monkeypatch.setenv("VLLM_LOGGING_LEVEL", level)
    with pytest.raises(EngineStartError, match=r"the engine did not start: .*SafetensorError") as failed:
        Runner(str(truncated), {"enforce_eager": True, "kv_cache_memory_bytes": 2**26})
    said = capfd.readouterr().err
    if level == "ERROR":
        assert "Traceback" not in said
        check_line(f"sfllava: {failed.value}\n")
    else:
        assert "Traceback" in said


def test_a_failed_step_in_this_process(made, good, monkeypatch):
    """An exception in the model is not blamed on the question."""
    from sfllava_plugin.engine.offline.questions import Question
    from sfllava_plugin.engine.offline.runner import Runner

    runner = Runner("sf-llava-tiny", {"kv_cache_memory_bytes": 2**26})
    worker = runner.engine.llm_engine.model_executor.driver_worker.worker

    def fail(*args, **kwargs):
        raise ValueError("a kernel failed")

    monkeypatch.setattr(worker.model_runner.model, "forward", fail)
    with pytest.raises(EngineDied) as died:
        runner.answer(Question(str(made / "plain.mp4"), inputs.QUESTION.text))
    check_line(f"sfllava: {died.value}\n", "the engine died: ValueError: a kernel failed")


def test_the_cause_is_found_in_a_log():
    from sfllava_plugin.engine.offline.lifetime import last_exception

    log = """
(Worker pid=12) INFO 11-25 01:04:14 [loader.py:1] Traceback is not what this line is
(Worker pid=12) ERROR 11-25 01:04:14 [multiproc.py:8] WorkerProc failed to start.
(Worker pid=12) ERROR 11-25 01:04:14 [multiproc.py:8] Traceback (most recent call last):
(Worker pid=12) ERROR 11-25 01:04:14 [multiproc.py:8]   File "loader.py", line 1, in load
(Worker pid=12) ERROR 11-25 01:04:14 [multiproc.py:8]     raise SafetensorError(
(Worker pid=12) ERROR 11-25 01:04:14 [multiproc.py:8] safetensors.SafetensorError: the file is short
(EngineCore pid=11) ERROR 11-25 01:04:15 [core.py:9] Traceback (most recent call last):
(EngineCore pid=11) ERROR 11-25 01:04:15 [core.py:9]   File "core.py", line 1, in start
(EngineCore pid=11) ERROR 11-25 01:04:15 [core.py:9] Exception: WorkerProc failed. See stack trace for root cause.
"""
    assert last_exception(log) == "safetensors.SafetensorError: the file is short"
    assert last_exception("Killed\n") is None
