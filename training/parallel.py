"""Data parallelism: processes that average their gradients.

On two cores, two processes of one thread are faster than one process of two threads.
"""

import torch
import torch.distributed as dist
from torch import nn


def share(module: nn.Module) -> None:
    """Copy the first process's weights to all."""
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, 0)


def average_gradients(module: nn.Module) -> None:
    gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def total(*values: float) -> list[float]:
    """Sum each value over the processes."""
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor)
    return tensor.tolist()
