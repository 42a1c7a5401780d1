"""What was measured, as a table to read and as JSON to keep."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.timing import Result

_PACKAGES = ("torch", "vllm", "transformers", "decord", "opencv-python-headless", "Pillow")


def machine(device: torch.device) -> dict:
    """What the numbers depend on."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "torch_threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def as_dict(result: Result) -> dict:
    return {
        "stage": result.name,
        "unit": result.unit,
        "ours": result.median("ours"),
        "plain": result.median("plain"),
        "ratio": result.ratio,
        "ratios": result.ratios,
        "difference": result.difference,
        "seconds": result.seconds,
    }


def show(report: dict) -> None:
    """Print the report."""
    table = Table(title="One question about one video")
    for heading in ("stage", "ours", "plain", "plain / ours", "lowest to highest", "difference"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in report["stages"]:
        table.add_row(
            stage["stage"],
            *(f"{stage[side]:.4f} {stage['unit']}" for side in ("ours", "plain")),
            f"{stage['ratio']:.2f}",
            f"{min(stage['ratios']):.2f} to {max(stage['ratios']):.2f}",
            f"{stage['difference']:.1e}",
        )
    console = Console(width=120) if not Console().is_terminal else Console()
    console.print(table)
    speed, host = report["gflops"], report["machine"]
    console.print(
        f"Tower and projector: ours {speed['ours']:.0f}, plain {speed['plain']:.0f} GFLOP/s; "
        f"one product of the tower's MLP: {speed['gemm']:.0f} GFLOP/s."
    )
    console.print(
        f"{host['cpu']}, {host['cores']} cores, load {host['load']}; device {host['device']}; "
        f"both sides with {host['torch_threads']} torch threads."
    )
    console.print(", ".join(f"{name} {number}" for name, number in host["versions"].items()))
    console.print(" ".join(f"{name}={value}" for name, value in report["settings"].items()), highlight=False)


def write(report: dict, path: Path) -> None:
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
