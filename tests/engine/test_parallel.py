"""Two workers split the language model, and the tower's frames or its layers.

The checkpoints are in the original format, so the vocabulary they split has rows without weights.
"""

import json
import os
import subprocess
import sys

import pytest

from sfllava_plugin import cli
from tests.engine.families import Case
from tests.engine.support import KV_CACHE

ONEVISION = Case("onevision-original", {})


@pytest.mark.parametrize(
    ("model", "tower"),
    [
        ("sf-llava", "data"),
        pytest.param("onevision", "data", marks=pytest.mark.slow),
        pytest.param("onevision", "weights", marks=pytest.mark.slow),
    ],
)
def test_two_workers_give_the_answer_of_one(runners, checkpoints, family_runner, written, bikes, model, tower):
    from sfllava_plugin.engine.offline import Question

    engine = {"dtype": "float32", "tensor_parallel_size": 2, "mm_encoder_tp_mode": tower}
    engine["kv_cache_memory_bytes"] = KV_CACHE
    if model == "onevision":
        runner, folder = family_runner(ONEVISION), written(ONEVISION)
    else:
        runner, folder = runners(layout="original"), checkpoints(layout="original")
    command = [sys.executable, "-m", cli.__name__, "ask", str(bikes), "What is happening?", "--json"]
    command += ["--model", str(folder), "--engine-args", json.dumps(engine), "--max-tokens", "12"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = json.loads(done.stdout)
    expected = runner.answer(Question(str(bikes), "What is happening?", max_tokens=12, logprobs=5))
    assert printed["token_ids"] == expected.token_ids
    for ours, theirs in zip(printed["logprobs"], expected.logprobs, strict=True):
        assert abs(ours["logprob"] - theirs["logprob"]) < 1e-3
