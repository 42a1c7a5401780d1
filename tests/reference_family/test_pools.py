"""Layouts against torch's own pools, and the token counts of the specification."""

import pytest
import torch
from torch.nn import functional as F

from tests import reference
from tests.reference_family import pools


def maps(frames: int, grid: int, width: int = 5) -> torch.Tensor:
    return torch.randn(frames, grid, grid, width, generator=torch.Generator().manual_seed(grid))


def channels_last(pool, *args, **kwargs):
    return lambda x: pool(x.permute(0, 3, 1, 2), *args, **kwargs).permute(0, 2, 3, 1)


@pytest.mark.parametrize(("grid", "stride"), [(27, 2), (27, 4), (24, 2), (24, 3), (7, 2), (6, 4), (1, 2)])
def test_bilinear_equals_torch(grid, stride):
    # In double precision: in single, torch's own positions are 3e-6 off.
    x, size = maps(3, grid).double(), [-(-grid // stride)] * 2
    expected = channels_last(F.interpolate, size=size, mode="bilinear")(x)
    torch.testing.assert_close(pools.bilinear(x, stride), expected, atol=1e-12, rtol=0)


def test_resize_bilinear_equals_torch_on_rectangles():
    x = torch.cat([maps(2, 9), maps(2, 9)], 2).double()
    expected = channels_last(F.interpolate, size=[7, 13], mode="bilinear")(x)
    torch.testing.assert_close(pools.resize_bilinear(x, 7, 13), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("grid", "stride"), [(27, 2), (27, 4), (24, 2), (7, 2), (7, 3)])
def test_average_equals_torch_and_drops_lines(grid, stride):
    x = maps(2, grid)
    torch.testing.assert_close(pools.average(x, stride), channels_last(F.avg_pool2d, stride)(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(4, 4), (2, 2), (3, 3), (5, 2), (27, 27)])
def test_adaptive_equals_torch(size):
    x = maps(2, 27)
    torch.testing.assert_close(pools.adaptive(x, *size), channels_last(F.adaptive_avg_pool2d, size)(x))


@pytest.mark.parametrize("name", [name for name in pools.POOLS if name.startswith("spatial")])
def test_released_pools_equal_the_older_reference(name):
    x = maps(6, 4)
    notation = f"slowfast-slow_2frms_{name}-fast_2x1"
    expected = reference.pathway(x.flatten(1, 2), notation)
    torch.testing.assert_close(pools.slowfast(x, 2, name, (2, 1)), expected)


def test_slow_positions():
    assert pools.slow_positions(50, 10) == list(range(0, 50, 5))
    assert pools.slow_positions(128, 32) == list(range(0, 128, 4))
    assert pools.slow_positions(3, 5) == [0, 0, 1, 1, 2]


# Section 4 of the specification: the same layouts on OneVision (end) and LLaVA-Video (rows).
@pytest.mark.parametrize(
    ("slow", "frames", "fast", "end", "rows"),
    [
        (10, 50, (4, 4), 2761, 3100),
        (24, 96, (4, 4), 6241, 6960),
        (32, 64, (4, 4), 7297, 8000),
        (32, 128, (4, 4), 8321, 9280),
        (32, 128, (2, 2), 6785, 7488),
        (48, 128, (4, 4), 11457, 12640),
    ],
)
@pytest.mark.parametrize("order", pools.ORDERS)
def test_counts_of_slowfast_layouts(slow, frames, fast, end, rows, order):
    x, vector = torch.zeros(frames, 27, 27, 1), torch.ones(1)
    for newline, expected in (("end", end), ("rows", rows)):
        assert len(pools.slowfast(x, slow, "bilinear", fast, newline, vector, order)) == expected


@pytest.mark.parametrize(
    ("frames", "pool", "newline", "expected"),
    [
        (32, "bilinear", "end", 6273),
        (64, "bilinear", "end", 12545),
        (32, "bilinear", "rows", 6720),
        (64, "bilinear", "rows", 13440),
        (64, "average", "rows", 11648),
        (128, "bilinear", "rows", 26880),
        (128, "average", "rows", 23296),
    ],
)
def test_counts_of_native_layouts(frames, pool, newline, expected):
    assert len(pools.every_frame(torch.zeros(frames, 27, 27, 1), pool, newline, torch.ones(1))) == expected


@pytest.mark.parametrize(
    ("mode", "every", "expected"),
    [
        ("average", 3, 5832),
        ("average", 10, 3732),
        ("average", 1, 11712),
        ("bilinear", 3, 7036),
        ("bilinear", 10, 4726),
        ("bilinear", 1, 13504),
    ],
)
def test_counts_of_interleaved_layouts(mode, every, expected):
    assert len(pools.interleaved(torch.zeros(64, 27, 27, 1), every, torch.ones(1), torch.ones(1), mode)) == expected


def marked(frames: int, grid: int) -> torch.Tensor:
    """Maps in which every patch holds its frame's number."""
    return torch.arange(frames).float().reshape(-1, 1, 1, 1).expand(-1, grid, grid, 1)


def order_of(tokens: torch.Tensor) -> list[int]:
    return [round(value) for value in tokens[:, 0].tolist()]


def test_where_newlines_stand():
    newline = torch.tensor([-1.0])
    layout = {n: order_of(pools.slowfast(marked(2, 4), 1, "average", (1, 2), n, newline)) for n in pools.NEWLINES}
    assert layout == {
        "none": [0, 0, 0, 0, 0, 0, 1, 1],
        "end": [0, 0, 0, 0, 0, 0, 1, 1, -1],
        "frames": [0, 0, 0, 0, -1, 0, 0, -1, 1, 1, -1],
        "rows": [0, 0, -1, 0, 0, -1, 0, 0, -1, 1, 1, -1],
    }


def test_time_order_puts_slow_tokens_before_the_same_frames_fast_ones():
    x = torch.stack([10 * marked(4, 2) + pixel for pixel in range(4)], 0).permute(1, 0, 2, 3, 4)[..., 0, 0, :]
    x = x.reshape(4, 2, 2, 1)
    assert order_of(pools.slowfast(x, 2, "concat", (1, 1), order="time")) == [
        *(0, 1, 2, 3, 2),
        *(12,),
        *(20, 21, 22, 23, 22),
        *(32,),
    ]  # the fast mean of a frame ends in 1.5, which rounds to 2


def test_interleaved_order():
    tokens = pools.interleaved(marked(3, 4), 2, torch.tensor([-1.0]), torch.tensor([-2.0]), "average")
    assert order_of(tokens) == [0, 0, -1, 0, 0, -1, -2, 1, -1, -2, 2, 2, -1, 2, 2, -1, -2]


def test_pools_commute_with_the_second_linear_layer_only():
    torch.manual_seed(0)
    first, second = torch.nn.Linear(5, 16), torch.nn.Linear(16, 16)
    x, vector = maps(6, 7), torch.randn(16)
    arguments = (2, "bilinear", (2, 2), "rows", vector, "time")
    with torch.no_grad():
        hidden = F.gelu(first(x))
        after = pools.slowfast(second(hidden), *arguments)
        between = pools.slowfast(hidden, *arguments, project=second)
        before = pools.slowfast(x, *arguments, project=lambda pooled: second(F.gelu(first(pooled))))
    torch.testing.assert_close(between, after)
    assert (before - after).abs().max() > 0.05
