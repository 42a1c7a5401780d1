"""Results as tables, as JSON and as a picture."""

import json
import os
import platform
import resource
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.progress import disturbed
from benchmarks.timing import Result
from benchmarks.watch import DECODING, ENGINE, PREPROCESSING, WAYS

_PACKAGES = ("torch", "vllm", "transformers", "decord", "opencv-python-headless", "Pillow")


def machine(device: torch.device) -> dict:
    """Describe hardware and software that the numbers depend on."""
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
    if report["jobs"]:
        console.print(_jobs_table(report["jobs"]))
        console.print(_shares_table(report["jobs"]))
    if tokens := report.get("video_tokens"):
        console.print(f"Each video takes {tokens} tokens.", highlight=False)
    if speed := report.get("gflops"):
        ours, plain, product = speed["ours"], speed["plain"], speed["gemm"]
        console.print(
            f"Tower and projector: ours {ours:.0f}, plain {plain:.0f} GFLOP/s; "
            f"one product of the tower's MLP {product:.0f}: ours reaches {ours / product:.0%} of it."
        )
    if host := report.get("machine"):
        console.print(
            f"{host['cpu']}, {host['cores']} cores, load {host['load']}; device {host['device']}; "
            f"both sides with {host['torch_threads']} torch threads."
        )
        console.print(", ".join(f"{name} {number}" for name, number in host["versions"].items()))
    if peak := report.get("peak_gigabytes"):
        console.print(f"Peak memory of this process, all ways together: {peak:.1f} GB.")
    if warning := disturbed(report.get("disturbance", 0.0)):
        console.print(warning.strip(), highlight=False)
    console.print(" ".join(f"{name}={value}" for name, value in report["settings"].items()), highlight=False)


def _jobs_table(jobs: list[dict]) -> Table:
    table = Table(title="Many questions: seconds per question")
    for heading in ("videos", "questions on each", "plain", "one by one", "ours", "plain / ours", "one by one / ours"):
        table.add_column(heading, justify="right")
    for (videos, each), ways in by_job(jobs).items():
        times = [ways[way]["seconds"] if way in ways else None for way in WAYS]
        ratios = (time / times[-1] if time and times[-1] else None for time in times[:-1])
        table.add_row(str(videos), str(each), *map(_or_dash("{:.2f}"), times), *map(_or_dash("{:.1f}"), ratios))
    return table


def _or_dash(form: str) -> Callable[[float | None], str]:
    """Make a formatter which shows a missing number as "-"."""
    return lambda number: "-" if number is None else form.format(number)


def _shares_table(jobs: list[dict]) -> Table:
    stages = (DECODING, PREPROCESSING, *ENGINE)
    table = Table(title="Ours: share of the time by stage (decoding overlaps the rest), engine load, peak memory")
    for heading in ("videos", "questions on each", *stages, "engine busy", "peak memory"):
        table.add_column(heading, justify="right")
    for job in jobs:
        if job["way"] == "ours":
            whole = job["seconds"] * job["asked"]
            shares = [job["stages"][stage] / whole if stage in job["stages"] else None for stage in stages]
            shown = map(_or_dash("{:.1%}"), (*shares, job["busy"]))
            table.add_row(str(job["videos"]), str(job["questions"]), *shown, f"{job['gigabytes']:.2f} GB")
    return table


def by_job(jobs: list[dict]) -> dict[tuple[int, int], dict[str, dict]]:
    """Group timings: (videos, questions on each) -> way -> timing."""
    found: dict[tuple[int, int], dict[str, dict]] = {}
    for timing in jobs:
        found.setdefault((timing["videos"], timing["questions"]), {})[timing["way"]] = timing
    return found


def plot(report: dict, picture: Path) -> None:
    """Draw seconds per question, three bars for each job."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    jobs = by_job(report["jobs"])
    figure, axes = pyplot.subplots(figsize=(11, 4.5))
    for number, way in enumerate(WAYS):
        places = [place + 0.27 * (number - 1) for place, ways in enumerate(jobs.values()) if way in ways]
        bars = axes.bar(places, [ways[way]["seconds"] for ways in jobs.values() if way in ways], 0.25, label=way)
        axes.bar_label(bars, fmt="%.2g", fontsize=7)
    axes.set_xticks(range(len(jobs)), [f"{videos} x {each}" for videos, each in jobs])
    axes.set_xlabel("videos x questions on each")
    axes.set_ylabel("seconds per question")
    host, dtype = report["machine"], report["settings"]["dtype"]
    axes.set_title(f"{host['cpu']}, {host['cores']} cores, {host['device']}, {dtype}")
    axes.margins(y=0.25)
    axes.legend(loc="upper center", ncols=3)
    axes.grid(axis="y", alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def peak_gigabytes(device: torch.device) -> float:
    """Peak memory of this process: the accelerator's, if there is one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


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
