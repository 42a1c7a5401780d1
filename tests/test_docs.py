"""The README and docs/ against the tree; `make docs` checks the tables and the site, tests/doors the commands."""

import ast
import re

import pytest
import yaml

from tests.pages import PAGES, ROOT, blocks, headings, links

#: Rows of the table of questions: a question, a file, a name in it.
QUESTIONS = re.findall(
    r"^\| ([^|]+\?) \| `([^`]+)` \| `(\w+)` \|$",
    (ROOT / "docs/architecture.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def names(path):
    """What a file defines at its top level."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return set(yaml.safe_load(text))
    found = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target, heading in links(page):
        assert target.exists(), target
        assert not heading or heading in headings(target), f"{target}#{heading}"


@pytest.mark.parametrize(("question", "file", "name"), QUESTIONS, ids=[question for question, _, _ in QUESTIONS])
def test_every_question_leads_to_the_right_file(question, file, name):
    assert (ROOT / file).is_file()
    assert name in names(ROOT / file)


def test_strangers_questions_are_in_the_table():
    asked = {question for question, _, _ in QUESTIONS}
    assert {
        "Where is a video decoded?",
        "Where are slow and fast tokens made?",
        "Where does a name become a model in vLLM?",
        "Where do I add a checkpoint?",
    } <= asked


def test_blocks_are_found():
    found = {page.name: blocks(page) for page in PAGES}
    marks = {page.name: page.read_text(encoding="utf-8").count("<!-- run") for page in PAGES}
    assert {name: len(runs) for name, runs in found.items()} == marks
    assert found["README.md"][0].output == "3 clips and 65 questions in clips\ngreen\n"
    assert [block.is_server for block in found["serving.md"]] == [False, True, False]
