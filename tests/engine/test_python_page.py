"""The examples of docs/python.md run in order and print what the page says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sfllava_plugin as sf
from sfllava_plugin.shapes.clips import write_folder

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
FENCES = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Runs blocks in one namespace; a traceback shows the page's own line numbers.
PROGRAM = """
import contextlib, io, json, sys
page, blocks = json.load(sys.stdin)
printed, names = [], {"__name__": "__main__"}
for line, code in blocks:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile("\\n" * line + code, page, "exec"), names)
    printed.append(out.getvalue())
print("PRINTED", json.dumps(printed))
"""


def examples(page: str) -> list[tuple[int, str, str]]:
    """Return (lines before it, code, expected output) of each Python block; the block after it holds the output."""
    found = list(FENCES.finditer(page))
    following = [*found[1:], None]
    return [
        (page.count("\n", 0, fence.start(2)), fence[2], after[2] if after and after[1] == "text" else "")
        for fence, after in zip(found, following, strict=True)
        if fence[1] == "python"
    ]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """The output of each block, from a separate process: closing engines would break those of other tests."""
    folder = tmp_path_factory.mktemp("page")
    write_folder(folder / "clips", range(3))
    blocks = [(line, code) for line, code, _ in examples(PAGE.read_text(encoding="utf-8"))]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([str(PAGE), blocks]),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PAGE.parents[1]), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.rpartition("PRINTED ")[2])


def test_every_example_prints_what_the_page_says(printed):
    expected = [output for _, _, output in examples(PAGE.read_text(encoding="utf-8"))]
    assert printed == expected


def test_the_page_names_every_public_name():
    words = set(re.findall(r"\w+", PAGE.read_text(encoding="utf-8")))
    assert set(sf.__all__) - words == set()
