"""The engine on a GPU: right answers, and a tower that uses the machine.

vLLM's build for CUDA runs on no CPU. So both are held to the truth of the same clips, here and in
tests/engine/test_gpu_checks.py: where neither makes a mistake, the GPU's answers equal the CPU's.
"""

import pytest
import torch

from examples.random_checkpoint import Geometry, write_checkpoint
from tests.gpu import checks
from tests.gpu.conftest import MEMORY_SHARE

pytestmark = pytest.mark.gpu

#: CLIP-L/14 at 336 pixels, LLaVA-NeXT's tower, and a projector of vicuna-7b's width before a small language model.
TOWER = Geometry(336, 14, tower_hidden=1024, tower_layers=24, tower_mlp=4096, text_hidden=4096, text_heads=32)
#: Far below a sound tower. It catches one that runs on the CPU, in float32 or frame by frame.
LEAST_SPEED = 0.1


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "compiled"])
def test_the_tiny_model_answers_as_on_a_cpu(eager, tmp_path):
    from sfllava_plugin.engine.offline.runner import Runner

    runner = Runner("sf-llava-tiny", {"enforce_eager": eager, "gpu_memory_utilization": MEMORY_SHARE})
    try:
        assert checks.wrong_answers(runner, tmp_path) == []
    finally:
        runner.close()


def test_the_tower_keeps_up_with_a_bare_matrix_product(tmp_path, monkeypatch, measured):
    from sfllava_plugin.engine.offline.runner import Runner

    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    checkpoint = write_checkpoint(tmp_path / "clip-l", geometry=TOWER, dtype=torch.bfloat16)
    settings = {"dtype": "bfloat16", "enforce_eager": True, "kv_cache_memory_bytes": 2**30}
    runner = Runner(str(checkpoint), settings | {"gpu_memory_utilization": MEMORY_SHARE})
    try:
        [model] = runner.engine.apply_model(lambda model: model)
        speed = checks.tower_speed(model, TOWER, "cuda", torch.bfloat16, frames=50)
    finally:
        runner.close()
    measured(f"tower in bfloat16, 50 frames: {speed:.0%} of a bare matrix product's speed")
    assert speed > LEAST_SPEED
