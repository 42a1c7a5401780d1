"""The limits in the docs, in the command and in the code."""

import sys
from pathlib import Path

import pytest

from sfllava_plugin import cli
from sfllava_plugin.limits import Limits

PAGE = Path(__file__).parent.parent / "docs/limits.md"
#: Defaults that depend on the machine, in words.
IN_WORDS = {"decoders": "half of the cores, 2 to 8", "look_ahead": "`decoders` + 2"}


@pytest.mark.parametrize("name", Limits.model_fields)
def test_the_docs_list_every_limit(name):
    field = Limits.model_fields[name]
    default = IN_WORDS.get(name, field.default)
    assert f"| `{name}` | {default} | {field.description} |" in PAGE.read_text(encoding="utf-8")


def test_the_command_shows_the_limits_in_force(tmp_path, monkeypatch, capsys):
    own = tmp_path / "own.yaml"
    own.write_text("limits: {file_bytes: 1000000, decode_seconds: 0.5}")
    monkeypatch.setenv("SFLLAVA_REGISTRY", str(own))
    monkeypatch.setattr(sys, "argv", ["sfllava", "limits"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    rows = {line.split()[0]: line.split()[1:3] for line in capsys.readouterr().out.splitlines()}
    assert rows["file_bytes"] == ["1,000,000", "4,294,967,296"]
    assert rows["decode_seconds"] == ["0.5", "120"]
    assert set(rows) == {"limit", *Limits.model_fields}


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"frames": 1.5}, {"decoders": True}, {"decode_seconds": float("inf")}]
)
def test_limits_are_positive_numbers_of_the_right_type(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)
