"""The command `sfllava`: models, prepare, ask, batch, compare, versus, limits, shapes, tasks-dir, check.

Exit codes: 0 done, 1 some questions failed or the check found a fault, 2 wrong usage or input, or the engine did not
start, 3 the engine died. Errors are one line on standard error.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

from sfllava_plugin._cli_compare import add_commands
from sfllava_plugin._cli_parts import (
    EngineArguments,
    ModelOption,
    complete_name,
    example,
    parse_engine_arguments,
    print_table,
)
from sfllava_plugin._environment import quiet, require_vllm
from sfllava_plugin.errors import EngineDied
from sfllava_plugin.video.errors import DecoderFault

if TYPE_CHECKING:
    from sfllava_plugin.batch.files import Row

app = typer.Typer(
    pretty_exceptions_enable=False,
    # Plain help: importing rich's markup parser takes as long as everything else.
    rich_markup_mode=None,
)


# The base of usage errors, which some releases of typer import from click and others define. The cast names a subclass
# that is in all of them, and has the same method.
_UsageError = cast(
    type[typer.BadParameter], next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
)

_ENGINE_DIED = 3

#: Likeliest first tokens in `ask --json`.
_JSON_LOGPROBS = 5


def _show_version(wanted: bool) -> None:
    if wanted:
        from sfllava_plugin import __version__

        print(f"sfllava {__version__}")
        raise typer.Exit


@app.callback()
def common_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """SlowFast-LLaVA: a training-free video LLM in vLLM."""


@app.command(epilog=example("sfllava models --json"))
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List the models that have a name."""
    from sfllava_plugin import registry

    entries = list(registry.load())
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        return
    rows = [
        (entry.name, ", ".join(entry.aliases), entry.checkpoint, str(entry.frames or ""), str(entry.pathways or ""))
        for entry in entries
    ]
    print_table(rows, "model", "aliases", "checkpoint", "frames", "pathways")


@app.command(epilog=example("sfllava prepare sf-llava-tiny -o tiny"))
def prepare(
    model: Annotated[
        str,
        typer.Argument(
            help="A name or an alias, a checkpoint folder or a hub repository.", autocompletion=complete_name
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The directory to write; by default one in the cache.")
    ] = None,
) -> None:
    """Write a model directory for `vllm serve`.

    The last line on standard output is the directory.
    """
    quiet()
    from sfllava_plugin.checkpoints.hub import entry_of
    from sfllava_plugin.checkpoints.prepare import prepare as write

    print(write(entry_of(model), output))


@app.command(epilog=example('sfllava ask clips/0.mp4 "what colour is the flash?" --model sf-llava-tiny'))
def ask(
    video: Annotated[str, typer.Argument(help="A video file, a folder of images, or a picture.")],
    question: Annotated[str, typer.Argument(help="The question, without a prompt around it.")],
    options: Annotated[
        list[str] | None,
        typer.Option("--options", help="One option of a multiple-choice question; repeat it for each."),
    ] = None,
    model: ModelOption = "sf-llava",
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum length of the answer in tokens.")] = 256,
    engine_args: EngineArguments = "{}",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer, its prompt, frames and token ids as JSON.")
    ] = False,
) -> None:
    """Ask one question about one video or picture.

    With --options, which need a video, the answer is a letter.
    """
    quiet()
    from sfllava_plugin import registry
    from sfllava_plugin.video.decode import is_picture, open_image
    from sfllava_plugin.video.isolated import read_video

    arguments = parse_engine_arguments(engine_args)
    # An unreadable video fails here, before the engine takes a minute to start.
    limits = registry.load().limits
    if is_picture(video):
        if options:
            raise typer.BadParameter("--options need a video: list the options of a picture in the question")
        open_image(Path(video), limits)
    else:
        read_video(video, num_frames=1, image_size=1, limits=limits)
    require_vllm()
    from sfllava_plugin.engine.offline import Question, Runner

    # Compiling takes longer than it saves on one question.
    engine = Runner(model, {"enforce_eager": True} | arguments)
    logprobs = _JSON_LOGPROBS if as_json else 0
    answer = engine.answer(Question(video, question, tuple(options or ()), max_tokens, logprobs=logprobs))
    if as_json:
        print(json.dumps(dataclasses.asdict(answer), ensure_ascii=False))
    else:
        print(answer.answer or answer.text)


@app.command(epilog=example("sfllava batch clips/questions.jsonl -o answers.jsonl --model sf-llava-tiny"))
def batch(
    questions: Annotated[
        str,
        typer.Argument(
            help="JSON Lines with id, video, question and, optionally, options and max_tokens; - for standard input."
        ),
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", help="The file of answers, JSON Lines; - for standard output.")
    ],
    model: ModelOption = "sf-llava",
    engine_args: EngineArguments = "{}",
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster to run on; local starts one on this machine.")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Engines on the Ray cluster; by default as many as its GPUs allow.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace answers to other questions, or of unknown origin, in the output."),
    ] = False,
) -> int:
    """Answer a file of questions.

    The same command, run again, continues where it stopped and repeats questions that failed.
    """
    quiet()
    from sfllava_plugin import provenance
    from sfllava_plugin.batch import command

    arguments = parse_engine_arguments(engine_args)

    def answering(rows: "list[Row]") -> Iterator[dict[str, Any]]:
        print(f"sfllava: loading {model}", file=sys.stderr)
        require_vllm()
        from sfllava_plugin.engine.offline import answer_here, answer_on_ray

        if ray:
            return answer_on_ray(rows, model, arguments, address=ray, replicas=replicas)
        return answer_here(rows, model, arguments)

    def describe() -> dict[str, Any]:
        return provenance.describe_model(model, arguments, elsewhere=ray is not None)

    return command.run(questions, output, answering, describe, overwrite=overwrite)


add_commands(app)


@app.command(epilog=example("SFLLAVA_REGISTRY=my-models.yaml sfllava limits"))
def limits() -> None:
    """Show the limits on videos and requests.

    Change them under `limits` in the file named by SFLLAVA_REGISTRY.
    """
    from sfllava_plugin import registry
    from sfllava_plugin.limits import DEFAULTS

    here = registry.load().limits
    rows = [
        (name, f"{getattr(here, name):,.10g}", f"{getattr(DEFAULTS, name):,.10g}", field.description or "")
        for name, field in type(here).model_fields.items()
    ]
    print_table(rows, "limit", "here", "default", "on")


@app.command(epilog=example("sfllava shapes clips --clips 10"))
def shapes(
    folder: Annotated[Path, typer.Argument(help="The folder to write to.")],
    clips: Annotated[int, typer.Option(min=1, help="Number of clips.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first clip; each further one adds 1.")] = 0,
) -> None:
    """Write clips of moving shapes with questions about them.

    sf-llava-tiny was trained on such clips. questions.jsonl is for `sfllava batch`, truth.jsonl has the right answers.
    """
    from sfllava_plugin.shapes.clips import write_folder

    count = write_folder(folder, range(seed, seed + clips))
    print(f"{clips} clips and {count} questions in {folder}")


@app.command(
    name="tasks-dir",
    epilog=example("lmms-eval --include_path $(sfllava tasks-dir) --tasks sfllava_shapes ..."),
)
def tasks_dir() -> None:
    """Print the folder of our lmms-eval tasks."""
    print(Path(__file__).with_name("evaluation") / "tasks")


@app.command(epilog=example("sfllava check"))
def check() -> None:
    """Check the installation, and whether vLLM finds the plugin.

    The exit code is 1 if something needs fixing; the last column says how.
    """
    from sfllava_plugin.check import findings

    found = findings()
    print_table([(each.name, "ok" if each.good else "!!", each.value, each.fix) for each in found])
    if not all(finding.good for finding in found):
        raise typer.Exit(1)


def main() -> None:
    """Run the command, and turn expected errors into one line and an exit code."""
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


if __name__ == "__main__":
    main()
