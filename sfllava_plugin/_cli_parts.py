"""Parts that the commands share: options, examples in their help, tables."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer


def complete_name(incomplete: str) -> list[str]:
    """Complete the name of a model in the shell."""
    from sfllava_plugin import registry

    try:
        entries = list(registry.load())
    except registry.RegistryError:
        # A message here would land in the middle of the user's command line.
        return []
    return [name for entry in entries for name in (entry.name, *entry.aliases) if name.startswith(incomplete)]


_MODEL_HELP = "A name or an alias, a model directory, a checkpoint folder or a hub repository."

ModelOption = Annotated[str, typer.Option("--model", help=_MODEL_HELP, autocompletion=complete_name)]
EngineArguments = Annotated[str, typer.Option("--engine-args", help="vLLM engine arguments as a JSON object.")]


def example(command: str) -> str:
    """Format an example for the end of a command's help, on a line of its own."""
    return f"\b\nExample:\n  {command}"


def parse_engine_arguments(text: str) -> dict[str, Any]:
    """Parse ``--engine-args``; names may have dashes, as on vLLM's command line.

    Raises:
        ValueError: it is not a JSON object.
    """
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--engine-args is not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise ValueError('--engine-args must be a JSON object, like \'{"dtype": "float16"}\'')
    return {name.replace("-", "_"): value for name, value in arguments.items()}


def print_table(rows: Iterable[Sequence[str]], *header: str) -> None:
    """Print rows as columns, under a header if there is one."""
    # Imported here because rich takes a tenth of a second, and most commands print no table.
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=None, show_header=bool(header))
    for row in rows:
        table.add_row(*row)
    # Do not wrap a table for a program at the width of a terminal.
    Console(width=None if sys.stdout.isatty() else 200, markup=False).print(table)
