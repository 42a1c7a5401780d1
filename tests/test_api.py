"""The public names of the package, and `Model` in front of a runner without an engine."""

import ast
import importlib.metadata
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import sfllava_plugin as sf
from sfllava_plugin.api import Model
from sfllava_plugin.engine.offline.questions import DEFAULT_MAX_TOKENS

#: Needed by `video_tokens` alone; the others load their part of numpy, pydantic and yaml at most.
NEEDS_TORCH = {"video_tokens"}
HEAVY = {"torch", "transformers", "vllm", "lmms_eval", "av", "decord", "PIL", "cv2"}


def modules_after(program: str) -> set[str]:
    """The top-level modules that a program has imported at its end."""
    program += "\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_importing_the_package_imports_only_the_standard_library():
    imported = modules_after("import sfllava_plugin") - modules_after("import typing, importlib")
    assert {name for name in imported if name not in sys.stdlib_module_names} == {"sfllava_plugin"}


def test_names_load_nothing_heavy():
    names = sorted(set(sf.__all__) - NEEDS_TORCH)
    imported = modules_after(f"import sfllava_plugin\nfor name in {names}: getattr(sfllava_plugin, name)")
    assert not imported & HEAVY


@pytest.mark.parametrize("name", sf.__all__)
def test_every_public_name_is_there(name):
    if name in NEEDS_TORCH and find_spec("torch") is None:
        pytest.skip("torch is not installed")
    assert getattr(sf, name) is getattr(sf, name)
    assert name in dir(sf)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(sf.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        (node.module, alias.name) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == {(f"sfllava_plugin.{home}", name) for name, home in sf._HOME_OF.items()}
    assert sorted([*sf._HOME_OF, "__version__"]) == sorted(sf.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'sfllava_plugin' has no attribute 'laod'"):
        _ = sf.laod


def test_the_version_is_the_installed_one():
    assert sf.__version__ == importlib.metadata.version("sfllava-plugin")


class FakeRunner:
    """Answers in the order of ``finish``; a question about ``missing.mp4`` fails."""

    model = "fake"

    def __init__(self, finish=(0,)):
        self.finish, self.asked, self.is_open = finish, [], True

    def answers(self, questions):
        self.asked = list(questions)
        for position in self.finish:
            question = self.asked[position]
            yield position, sf.Failure(sf.VideoError("gone")) if "missing" in question.video else answer(question.text)

    def close(self):
        assert self.is_open
        self.is_open = False


def answer(text):
    return sf.Answer("fake", "a.mp4", [0], [0], 1, "", [], [], text, None, [])


def questions(*texts):
    return [sf.Question("a.mp4", text) for text in texts]


def test_results_are_yielded_in_the_order_of_the_questions():
    model = Model(FakeRunner(finish=[2, 0, 3, 1]))
    assert [result.text for result in model.answers(questions("a", "b", "c", "d"))] == ["a", "b", "c", "d"]


def test_a_result_is_yielded_once_all_before_it_are_known():
    runner = FakeRunner(finish=[0, 2, 1])
    results = Model(runner).answers(questions("a", "b", "c"))
    runner.finish = iter(runner.finish)
    assert next(results).text == "a"
    assert list(runner.finish) == [2, 1]


def test_a_failure_takes_the_place_of_its_answer():
    asked = [sf.Question("missing.mp4", "a"), *questions("b")]
    failure, other = Model(FakeRunner(finish=[1, 0])).answers(asked)
    assert isinstance(failure.error, sf.VideoError)
    assert other.text == "b"


def test_one_question_becomes_a_question_of_the_runner():
    runner = FakeRunner()
    assert Model(runner).answer(Path("a.mp4"), "what?").text == "what?"
    assert runner.asked == [sf.Question("a.mp4", "what?", max_tokens=DEFAULT_MAX_TOKENS)]
    Model(runner).answer("a.mp4", "what?", ["x", "y"], max_tokens=3, prompt_frame="none", logprobs=2)
    assert runner.asked == [sf.Question("a.mp4", "what?", ("x", "y"), 3, "none", logprobs=2)]


def test_one_question_that_fails_raises():
    with pytest.raises(sf.VideoError, match="gone"):
        Model(FakeRunner()).answer("missing.mp4", "what?")


def test_a_second_call_is_refused_until_the_first_is_exhausted_or_closed():
    model = Model(FakeRunner(finish=[0, 1]))
    results = model.answers(questions("a", "b"))
    next(results)
    with pytest.raises(RuntimeError, match="answering other questions: exhaust or close that iterator first"):
        model.answer("a.mp4", "what?")
    results.close()
    assert [result.text for result in model.answers(questions("c", "d"))] == ["c", "d"]


def test_a_model_closes_once_and_answers_no_more():
    runner = FakeRunner()
    with Model(runner) as model:
        assert repr(model) == "<Model 'fake'>"
    assert not runner.is_open
    model.close()
    assert repr(model) == "<Model 'fake', closed>"
    with pytest.raises(RuntimeError, match="the model is closed: load it again"):
        model.answer("a.mp4", "what?")


def test_closing_ends_an_open_iterator():
    with Model(FakeRunner(finish=[0, 1])) as model:
        results = model.answers(questions("a", "b"))
        next(results)
    with pytest.raises(RuntimeError, match="the model is closed"):
        next(results)


def test_a_model_closes_when_its_block_fails():
    runner = FakeRunner()
    with pytest.raises(KeyError), Model(runner):
        raise KeyError
    assert not runner.is_open
