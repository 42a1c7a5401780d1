"""The command `sfllava`: models, prepare, ask, batch, limits, shapes, tasks-dir, check.

Exit codes: 0 done, 1 something asked for is not as it should be, 2 wrong usage or input, or an engine that does not
start, 3 the engine died. Errors are one line on standard error.
"""

import dataclasses
import importlib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sfllava_plugin._environment import install_hint, quiet
from sfllava_plugin.errors import EngineDied
from sfllava_plugin.video.errors import DecoderFault

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    # Help in plain text: rich's parser of markup takes as long to import as all else.
    rich_markup_mode=None,
    help="SlowFast-LLaVA: a training-free video LLM in vLLM.",
)

# What wrong usage raises; some releases of typer bring it from click, some on their own.
_UsageError = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

_ENGINE_DIED = 3

#: Alternatives of the answer's first token in `ask --json`.
_JSON_LOGPROBS = 5

Model = Annotated[str, typer.Option(help="An alias, a model directory, a checkpoint folder or a hub repository.")]


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List the models that answer to a name."""
    from sfllava_plugin import registry

    entries = list(registry.load())
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        return
    rows = [
        (entry.name, ", ".join(entry.aliases), entry.checkpoint, str(entry.frames), str(entry.pathways))
        for entry in entries
    ]
    _print_table(rows, "model", "aliases", "checkpoint", "frames", "pathways")


@app.command()
def prepare(
    model: Annotated[str, typer.Argument(help="An alias, a checkpoint folder or a hub repository.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where; by default in the cache.")] = None,
) -> None:
    """Write the directory that `vllm serve DIRECTORY` loads; its name is the last line printed."""
    quiet()
    from sfllava_plugin.checkpoints.hub import entry_of
    from sfllava_plugin.checkpoints.prepare import prepare as write

    print(write(entry_of(model), output))


@app.command()
def ask(
    video: Annotated[str, typer.Argument(help="A video file or a folder of images.")],
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    options: Annotated[
        list[str] | None,
        typer.Option("--options", help="An option of a multiple-choice question; repeat it."),
    ] = None,
    model: Model = "sf-llava",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    engine_args: Annotated[str, typer.Option(help="vLLM engine arguments as a JSON object.")] = "{}",
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer and what it came from as JSON.")] = False,
) -> None:
    """Ask one question about one video."""
    quiet()
    from sfllava_plugin import registry
    from sfllava_plugin.video.isolated import read_video

    arguments = _engine_arguments(engine_args)
    # Before the engine is started: a video that cannot be read should not cost a minute.
    read_video(video, num_frames=1, image_size=1, limits=registry.load().limits)
    runner = _engine_half("runner")
    # One question does not pay for compiling.
    engine = runner.Runner(model, {"enforce_eager": True} | arguments)
    logprobs = _JSON_LOGPROBS if as_json else 0
    answer = engine.answer(runner.Question(video, question, tuple(options or ()), max_tokens, logprobs=logprobs))
    if as_json:
        print(json.dumps(dataclasses.asdict(answer), ensure_ascii=False))
    else:
        print(answer.answer or answer.text)


@app.command()
def batch(
    questions: Annotated[
        str, typer.Argument(help="JSON Lines: id, video, question, options, max_tokens. - reads stdin.")
    ],
    output: Annotated[str, typer.Option("-o", "--output", help="JSON Lines of answers. - writes stdout.")],
    model: Model = "sf-llava",
    engine_args: Annotated[str, typer.Option(help="vLLM engine arguments as a JSON object.")] = "{}",
    ray: Annotated[str | None, typer.Option(help="Use the Ray cluster at this address, or local.")] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Engines on the Ray cluster.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Drop what the output holds of other questions or of unknown origin.")
    ] = False,
) -> int:
    """Answer a file of questions; run again, it does only what is missing."""
    quiet()
    from sfllava_plugin import provenance
    from sfllava_plugin.batch import command

    arguments = _engine_arguments(engine_args)

    def answering(rows):
        print(f"sfllava: loading {model}", file=sys.stderr)
        if ray:
            return _engine_half("replicas").answer_on_ray(rows, model, arguments, address=ray, replicas=replicas)
        return _engine_half("batch_rows").answer_here(rows, model, arguments)

    def describe():
        return provenance.describe_model(model, arguments, elsewhere=ray is not None)

    return command.run(questions, output, answering, describe, overwrite=overwrite)


@app.command()
def limits() -> None:
    """Show what a video and a request may cost at most, and why."""
    from sfllava_plugin import registry
    from sfllava_plugin.limits import DEFAULTS

    here = registry.load().limits
    rows = [
        (name, f"{getattr(here, name):,.10g}", f"{getattr(DEFAULTS, name):,.10g}", field.description)
        for name, field in type(here).model_fields.items()
    ]
    _print_table(rows, "limit", "here", "default", "on")


@app.command()
def shapes(
    folder: Annotated[Path, typer.Argument(help="Where the clips go.")],
    clips: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="The first clip's seed.")] = 0,
) -> None:
    """Write clips of coloured shapes, what sf-llava-tiny knows, with questions.jsonl for batch and truth.jsonl."""
    from sfllava_plugin.shapes.clips import write_folder

    count = write_folder(folder, range(seed, seed + clips))
    print(f"{clips} clips and {count} questions in {folder}")


@app.command(name="tasks-dir")
def tasks_dir() -> None:
    """Print the folder of our lmms-eval tasks, for --include_path."""
    print(Path(__file__).with_name("evaluation") / "tasks")


@app.command()
def check() -> None:
    """Show what is installed, whether vLLM sees the plugin, and what was tested."""
    from sfllava_plugin.check import findings

    found = findings()
    _print_table([(each.name, "ok" if each.good else "!!", each.value, each.fix) for each in found])
    if not all(finding.good for finding in found):
        raise typer.Exit(1)


def main() -> None:
    """Run the command; an error that has a name becomes one line and an exit code."""
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = app(arguments, standalone_mode=False)
    except typer.Abort:
        raise SystemExit(130) from None
    except _UsageError as error:
        _stop(error.format_message())
    except (ValueError, OSError) as error:
        _stop(str(error))
    except DecoderFault as error:
        _stop(str(error), code=1)
    except EngineDied as error:
        _stop(str(error), _ENGINE_DIED)
    raise SystemExit(code if isinstance(code, int) else 0)


def _stop(message: str, code: int = 2) -> NoReturn:
    print(f"sfllava: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


def _print_table(rows: Iterable[Sequence[str]], *header: str) -> None:
    # Here and not above: most commands print no table, and rich takes a tenth of a second to import.
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=None, show_header=bool(header))
    for row in rows:
        table.add_row(*row)
    # A table read by a program has no edge to wrap at.
    Console(width=None if sys.stdout.isatty() else 200, markup=False).print(table)


def _engine_arguments(text: str) -> dict:
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--engine-args is not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise ValueError('--engine-args must be a JSON object, like \'{"dtype": "float16"}\'')
    return {name.replace("-", "_"): value for name, value in arguments.items()}


def _engine_half(module: str):
    """A module of the engine half, which needs vllm."""
    try:
        importlib.import_module("vllm")
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise
        raise ValueError(f"vllm is not installed: {install_hint('cuda', 'cpu')}") from error
    return importlib.import_module(f"sfllava_plugin.engine.offline.{module}")


if __name__ == "__main__":
    main()
