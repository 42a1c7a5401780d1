"""An engine in a spawned process gives the same answers as one in this process."""

import json
import os
import subprocess
import sys

import pytest

from sfllava_plugin import cli
from sfllava_plugin.shapes import clips
from tests.engine.support import KV_CACHE

pytestmark = pytest.mark.slow

OWN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
ENGINE = {"kv_cache_memory_bytes": KV_CACHE}
SCRIPT = """
import sys
from sfllava_plugin.engine.offline.questions import Question
from sfllava_plugin.engine.offline.runner import Runner

def main():
    runner = Runner("sf-llava-tiny")
    print("processes:", type(runner.engine.llm_engine.engine_core).__name__)
    answer = runner.answer(Question(sys.argv[1], sys.argv[2], max_tokens=24))
    print("answer:", answer.text)

GUARD
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A video and one of its questions."""
    clip = clips.clip(20_000)
    video = clips.write_clip(clip.scene, tmp_path_factory.mktemp("clip") / "shapes.mp4")
    return str(video), clip.open_ended[0].text


def run(*command):
    environment = os.environ | OWN_PROCESS
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_ask_answers_as_in_this_process(tiny, asked):
    from sfllava_plugin.engine.offline.questions import Question

    command = [sys.executable, "-m", cli.__name__, "ask", *asked, "--json", "--max-tokens", "24"]
    done = run(*command, "--model", "sf-llava-tiny", "--engine-args", json.dumps(ENGINE))
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    expected = tiny.answer(Question(*asked, max_tokens=24, logprobs=5))
    for name in ("frames", "slow_frames", "video_tokens", "prompt_token_ids", "token_ids", "text"):
        assert said[name] == getattr(expected, name), name
    for ours, theirs in zip(said["logprobs"], expected.logprobs, strict=True):
        assert abs(ours["logprob"] - theirs["logprob"]) < 1e-2


def test_a_guarded_script_runs_its_engine_in_another_process(tiny, asked, tmp_path):
    from sfllava_plugin.engine.offline.questions import Question

    script = tmp_path / "guarded.py"
    script.write_text(SCRIPT.replace("GUARD", 'if __name__ == "__main__":\n    main()'))
    done = run(sys.executable, str(script), *asked)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = tiny.answer(Question(*asked, max_tokens=24)).text
    assert f"answer: {expected}" in done.stdout
    assert "processes: SyncMPClient" in done.stdout


def test_a_script_without_a_guard_fails(asked, tmp_path):
    """Python's spawn reruns the script in the new process: it must fail, not hang or fork forever."""
    script = tmp_path / "unguarded.py"
    script.write_text(SCRIPT.replace("GUARD", "main()"))
    done = run(sys.executable, str(script), *asked)
    assert done.returncode != 0
    assert "EngineStartError: the engine did not start" in done.stderr
    assert "answer:" not in done.stdout
