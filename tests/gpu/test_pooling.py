"""Pooling in bfloat16 on a GPU against float32 on the CPU."""

import pytest
import torch

from tests.gpu.checks import BFLOAT16, PATHWAYS, pooling_error


@pytest.mark.parametrize("frames", [3, 50])
@pytest.mark.parametrize("notation", PATHWAYS)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_bfloat16_is_close_to_float32(device, notation, frames):
    error = pooling_error(notation, device, torch.bfloat16, frames)
    assert 0 < error < BFLOAT16, "an error of 0 would mean that nothing was rounded"


@pytest.mark.gpu
@pytest.mark.parametrize("notation", PATHWAYS)
def test_float32_is_the_same(notation):
    assert pooling_error(notation, "cuda", torch.float32) < 1e-3
