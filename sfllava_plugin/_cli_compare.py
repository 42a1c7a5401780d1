"""The commands `sfllava compare` and `sfllava versus`: arguments only."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from sfllava_plugin._cli_parts import complete_name, example

_Reference = Annotated[
    str | None, typer.Option(help="Label of the method that the others are compared with; by default the first.")
]
_Published = Annotated[
    str, typer.Option(help="Size of the models whose published figures stand beneath: 7b, 34b or none.")
]
_Judge = Annotated[
    str | None,
    typer.Option(
        "--judge", help="Judge logged answers again: base URL of an OpenAI-compatible server, which ends in /v1."
    ),
]
_JudgeModel = Annotated[str | None, typer.Option(help="The judge's model; by default the first one on the server.")]
_Videos = Annotated[
    int, typer.Option("--frames-of", min=0, help="The most videos, with disagreements, whose frames the page shows.")
]


def add_commands(app: typer.Typer) -> None:
    """Add both commands to ``app``."""
    app.command(epilog=example("sfllava compare ours=results/a theirs=results/b --html comparison.html"))(compare)
    app.command(epilog=example("sfllava versus sf-llava-tiny sf-llava-tiny,frames=4 --tasks sfllava_shapes -o out"))(
        versus
    )


def compare(
    folders: Annotated[
        list[str], typer.Argument(metavar="[LABEL=]FOLDER...", help="Result folders of lmms-eval, of any models.")
    ],
    task: Annotated[
        list[str] | None, typer.Option("-t", "--task", help="A task or group; repeat it. By default all.")
    ] = None,
    reference: _Reference = None,
    published: _Published = "7b",
    json: Annotated[Path | None, typer.Option(help="Write everything as JSON, too.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page on which each question can be opened.")] = None,
    frames_of: _Videos = 100,
    judge: _Judge = None,
    judge_model: _JudgeModel = None,
) -> int:
    """Compare results of lmms-eval, question by question.

    Prints a Markdown table. The exit code is 1 if some tasks or folders cannot be compared.
    """
    from sfllava_plugin.evaluation.compare import command

    options = command.Options(
        tasks=tuple(task or ()),
        reference=reference,
        published=published,
        json=json,
        page=html,
        videos=frames_of,
        judge=judge,
        judge_model=judge_model,
    )
    return command.compare(folders, options)


def versus(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[LABEL=]NAME...",
            help="Models of ours, each with model_args after commas: sf-llava,frames=8. Or MODEL:ARGS, any model of "
            "lmms-eval with its model_args: video_llava:pretrained=...",
            autocompletion=complete_name,
        ),
    ],
    tasks: Annotated[str, typer.Option(help="Tasks or groups, separated by commas.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder for results and the comparison.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions of each task.")] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="If a method fails, evaluate and compare the others.")
    ] = False,
    lmms_eval_args: Annotated[str, typer.Option(help="Further arguments of lmms-eval, as on its command line.")] = "",
    reference: _Reference = None,
    published: _Published = "7b",
    frames_of: _Videos = 100,
    judge: _Judge = None,
    judge_model: _JudgeModel = None,
) -> int:
    """Evaluate models on the same tasks, and compare them.

    The same command, run again, skips what is finished. Writes comparison.md, .json and .html.
    """
    from sfllava_plugin.evaluation.compare import command
    from sfllava_plugin.evaluation.compare.versus import Job

    job = Job(
        tasks=tuple(name.strip() for name in tasks.split(",") if name.strip()),
        output=output,
        limit=limit,
        tasks_folder=Path(__file__).with_name("evaluation") / "tasks",
        extra=tuple(shlex.split(lmms_eval_args)),
    )
    options = command.Options(
        reference=reference, published=published, videos=frames_of, judge=judge, judge_model=judge_model
    )
    return command.versus(names, job, options, keep_going=keep_going)
