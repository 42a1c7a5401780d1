"""Tables of the docs, made from the code they describe.

cog runs these functions inside the Markdown files: `make tables` writes the tables, `make docs` fails where one is out
of date. No table depends on the machine.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sfllava_plugin"
#: Defaults that depend on the machine.
_IN_WORDS = {"decoders": "half of the cores, 2 to 8", "look_ahead": "`decoders` + 2"}
_WIDTH = 26


def commands() -> str:
    """Table of the commands of `sfllava`."""
    import typer

    from sfllava_plugin.cli import app

    group = typer.main.get_command(app)
    rows = [(f"`sfllava {name}`", _first_line(command.help)) for name, command in group.commands.items()]
    return _table(("command", ""), rows)


def limits() -> str:
    """Table of all limits with their defaults."""
    from sfllava_plugin.limits import Limits

    fields = Limits.model_fields.items()
    rows = [(f"`{name}`", _IN_WORDS.get(name, field.default), field.description) for name, field in fields]
    return _table(("limit", "default", "meaning"), rows)


def models() -> str:
    """Table of the packaged models."""
    from model_table import HEADER, rows

    return _table(HEADER, rows())


def model_settings() -> str:
    """Table of the keys of an entry, from the comment at the top of registry.yaml.

    Raises:
        ValueError: the comment and the registry's fields differ.
    """
    from sfllava_plugin.registry import Entry

    comment = (ROOT / "registry.yaml").read_text(encoding="utf-8").partition("\nmodels:")[0]
    rows = re.findall(r"^#   (\w+) {2,}(\S.*(?:\n# {6,}\S.*)*)", comment, re.MULTILINE)
    explained, fields = {name for name, _ in rows}, {*Entry.model_fields} - {"name"}
    if explained != fields:
        raise ValueError(f"registry.yaml must explain {sorted(fields)}, not {sorted(explained)}")
    return _table(("key", ""), [(f"`{name}`", _escaped(re.sub(r"\n# +", " ", text))) for name, text in rows])


def model_args() -> str:
    """Table of what `--model_args` takes, from the docstring of the lmms-eval model.

    Raises:
        ValueError: the docstring and the parameters differ.
    """
    tree = ast.parse((PACKAGE / "evaluation/adapter.py").read_text(encoding="utf-8"))
    model = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "SlowFastLlava")
    init = next(node for node in model.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    parameters = {argument.arg for argument in [*init.args.args[1:], init.args.kwarg]}
    section = re.search(r"\nArgs:\n(.*?)(?:\n\n|\Z)", ast.get_docstring(model), re.DOTALL)[1]
    found = re.findall(r"^    (\w[\w, ]*): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    if (explained := {name for names, _ in found for name in names.split(", ")}) != parameters:
        raise ValueError(f"SlowFastLlava must explain {sorted(parameters)}, not {sorted(explained)}")
    rows = []
    for names, text in found:
        text = " ".join(text.split()).replace("``", "`")
        text = re.sub(r"`(?:(\w+)\.)?([A-Z_]+)`", lambda name: _constant(name[1] or "adapter", name[2]), text)
        shown = "any other" if names == init.args.kwarg.arg else ", ".join(f"`{name}`" for name in names.split(", "))
        rows.append((shown, _escaped(text)))
    return _table(("argument", ""), rows)


def tree() -> str:
    """The package's files, each with the first line of its docstring."""
    return "\n```text\n" + "\n".join(_lines(PACKAGE, 0)) + "\n```\n\n"


def _lines(folder: Path, depth: int) -> Iterator[str]:
    first = folder / "__init__.py"
    yield _line(f"{folder.name}/", depth, _docstring(first) if first.exists() else "")
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith(("__", ".")))
    for path in sorted(inside, key=Path.is_dir):
        if path.suffix == ".py":
            yield _line(path.name, depth + 1, _docstring(path))
        elif path.is_dir() and any(path.rglob("*.py")):
            yield from _lines(path, depth + 1)


def _line(name: str, depth: int, text: str) -> str:
    return f"{'  ' * depth + name:{_WIDTH}} {text}".rstrip()


def _docstring(path: Path) -> str:
    return _first_line(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))).replace("``", "`")


def _constant(module: str, name: str) -> str:
    """Value of a constant in evaluation/."""
    tree = ast.parse((PACKAGE / f"evaluation/{module}.py").read_text(encoding="utf-8"))
    assigned = (node for node in tree.body if isinstance(node, ast.Assign))
    return next(str(node.value.value) for node in assigned if node.targets[0].id == name)


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n" + "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines) + "\n"
