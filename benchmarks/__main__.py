"""`python -m benchmarks`: options, and the order of measurements."""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

_SETTINGS = ("model_kind", "geometry", "dtype", "repeats", "tokens", "threads", "few")


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="time one question, then many questions")
    parser.add_argument(
        "--model-kind",
        choices=["llava-next", "onevision"],
        default="llava-next",
        help="slow and fast tokens of LLaVA-NeXT, or LLaVA-OneVision's own",
    )
    parser.add_argument("--geometry", choices=["middle", "small"], default="middle", help="size of the random model")
    parser.add_argument("--repeats", type=_positive, default=5, help="timed repeats after a warm-up")
    parser.add_argument("--tokens", type=_positive, default=32, help="tokens to generate after the first")
    parser.add_argument("--video", metavar="PATH", help="use this video instead of the two built-in ones")
    parser.add_argument("--threads", type=_positive, help="CPU threads of both sides; default: set by the engine")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument(
        "--videos", type=_numbers, default=[1, 4, 16], help="number of videos in each job, such as 1,4,16"
    )
    parser.add_argument("--questions", type=_numbers, default=[1, 4, 8], help="questions on each video, such as 1,4,8")
    parser.add_argument(
        "--few", type=_positive, default=4, help="questions timed for each of the slow ways, in each job"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw seconds per question")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    parser.add_argument("--quick", action="store_true", help="small geometry, one repeat: a smoke test")
    options = parser.parse_args(given)
    if options.video and not Path(options.video).is_file():
        parser.error(f"{options.video} is not a file")
    if options.quick:
        options.geometry, options.repeats, options.tokens = "small", 1, 4
        options.videos, options.questions, options.few = [1, 2], [1, 2], 1
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _numbers(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


def main(given: list[str] | None = None) -> None:
    options = _arguments(given)
    if options.threads:
        # torch and vLLM's kernels read it when they are loaded, hence the late imports.
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory(prefix="sfllava-benchmark-") as folder:
        # The prepared model directory is deleted with its checkpoint.
        os.environ["SFLLAVA_CACHE"] = f"{folder}/cache"
        report = {"stages": [], "jobs": [], "settings": {name: getattr(options, name) for name in _SETTINGS}}
        try:
            _measure(options, Path(folder), report)
        except KeyboardInterrupt:
            print("benchmarks: interrupted; these are the results so far", file=sys.stderr)
            _show(options, report)
            raise SystemExit(130) from None
        _show(options, report)


def _show(options: argparse.Namespace, report: dict) -> None:
    from benchmarks.report import plot, show, write

    show(report)
    if options.json:
        write(report, options.json)
    if options.plot and report["jobs"]:
        plot(report, options.plot)


def _measure(options: argparse.Namespace, folder: Path, found: dict) -> None:
    """Measure, and fill ``found`` with numbers on the way."""
    warnings.filterwarnings("ignore", category=FutureWarning)  # vLLM's, about torch
    # First: it sets environment variables that vLLM reads when imported.
    from benchmarks.ours import OurModel  # isort: skip
    import torch

    from benchmarks import inputs, jobs, report, stages
    from benchmarks.kinds import KINDS
    from benchmarks.progress import Progress
    from benchmarks.timing import measure

    kind, dtype = KINDS[options.model_kind], getattr(torch, options.dtype)
    geometry = kind.geometries[options.geometry]
    checkpoint = str(kind.write(folder / "checkpoint", geometry=geometry, dtype=dtype))
    # Before the engine starts: on a CPU it pins this process to its cores, while a server decodes in other processes.
    videos = inputs.videos(folder, options.video)
    with Progress(len(videos) + stages.OF_THE_MODEL + jobs.count(options)) as progress:

        def measured(stage):
            progress.begin(stage.name)
            result = measure(stage, options.repeats)
            found["stages"].append(report.as_dict(result))
            progress.done(str(result))
            return result

        for name, path in videos.items():
            stage, video = stages.decoding(name, path, kind, geometry.image_size)
            measured(stage)

        progress.begin("starting the engine")
        clips = inputs.clips(path, folder / "clips", max(options.videos))
        # Before the plain model's stages are timed: starting the engine decides the number of threads.
        ours = OurModel(checkpoint, options.dtype, inside=True)
        other = kind.plain(checkpoint, ours.device, dtype)
        found["machine"] = report.machine(ours.device)
        found["video_tokens"] = ours.runner.video_config.tokens(kind.frames)
        results = [measured(stage) for stage in stages.model_stages(ours, other, video, geometry, options.tokens)]
        tower = next(result for result in results if "gemm" in result.seconds)
        found["gflops"] = stages.gflops(tower, video, kind, geometry)

        if torch.accelerator.is_available():
            # Jobs run as users' do, with the engine in a process of its own.
            progress.begin("starting the engine again")
            ours.close()
            ours = OurModel(checkpoint, options.dtype, inside=False)
        progress.begin("many questions")
        for timing in jobs.timings(ours, other, clips, options, geometry.image_size):
            found["jobs"].append(vars(timing) | {"busy": timing.busy})
            progress.done(str(timing))
            found["peak_gigabytes"] = report.peak_gigabytes(ours.device)
            found["disturbance"] = progress.disturbance


if __name__ == "__main__":
    main()
