"""Question and options out of what lmms-eval's tasks send, in the forms that stock tasks have."""

import pytest

from sfllava_plugin.evaluation.asking import option_lines, question_and_options


@pytest.mark.parametrize(
    "lines",
    ["A. a cat\nB. a dog", "(A) a cat\n(B) a dog", "A) a cat\nB) a dog", "A: a cat\nB: a dog"],
)
def test_option_lines(lines):
    text = f"What is it?\n{lines}\nAnswer with the option's letter."
    assert option_lines(text) == ("What is it?", ("a cat", "a dog"))


def test_a_heading_of_the_options_is_not_the_question():
    assert option_lines("What is it?\nOptions:\n(A) x\n(B) y\n")[0] == "What is it?"


@pytest.mark.parametrize("text", ["What is it?", "What is it?\nA. only one", "B. no\nC. first"])
def test_without_two_options_all_is_the_question(text):
    assert option_lines(text) == (text, ())


def test_a_document_speaks_for_itself():
    doc = {"question": "What?", "options": ["A. x", "B. y"]}
    assert question_and_options(doc, "ignored") == ("What?", ("x", "y"))
    assert question_and_options(doc | {"options": []}, "ignored") == ("What?", ())
    assert question_and_options(doc | {"options": ["A", "B"]}, "ignored") == ("What?", ("A", "B"))
