"""Finding question and options in what stock lmms-eval tasks send."""

import pytest

from sfllava_plugin.evaluation.documents import option_lines, question_and_options, words_around


@pytest.mark.parametrize(
    "lines",
    ["A. a cat\nB. a dog", "(A) a cat\n(B) a dog", "A) a cat\nB) a dog", "A: a cat\nB: a dog"],
)
def test_option_lines(lines):
    text = f"What is it?\n{lines}\nAnswer with the option's letter."
    assert option_lines(text) == ("What is it?", ("a cat", "a dog"))


def test_the_options_heading_is_not_part_of_the_question():
    assert option_lines("What is it?\nOptions:\n(A) x\n(B) y\n")[0] == "What is it?"


@pytest.mark.parametrize("text", ["What is it?", "What is it?\nA. only one", "B. no\nC. first"])
def test_fewer_than_two_options_leave_everything_to_the_question(text):
    assert option_lines(text) == (text, ())


KNOWN = [
    ("videomme", {"options": ["A. x", "B. y"]}),
    ("videomme_long", {"options": ["A. x", "B. y"]}),
    ("egoschema_subset", {"option": ["A. x", "B. y"]}),
    ("egoschema_subset_mcppl", {"option": ["A. x", "B. y"]}),
    ("mvbench_action_count", {"candidates": ["x", "y"]}),
    ("perceptiontest_val_mc", {"options": ["x", "y"]}),
]


@pytest.mark.parametrize(("task", "columns"), KNOWN)
def test_known_tasks_have_both_in_their_documents(task, columns):
    text = "Select the best answer.\nWhat?\nA. x\nB. y\nThe best answer is:"
    assert question_and_options(task, {"question": "What?"} | columns, text) == ("What?", ("x", "y"))


@pytest.mark.parametrize("task", ["nextqa_mc_test", "nextqa_mc_val", "intentqa", "intentqa_val"])
def test_options_in_separate_columns(task):
    doc = {"question": "Why? "} | {f"a{number}": f"{letter}" for number, letter in enumerate("vwxyz")}
    assert question_and_options(task, doc, "ignored") == ("Why?", tuple("vwxyz"))


def test_options_that_are_letters_are_kept():
    doc = {"question": "Which?", "options": ["A", "B"]}
    assert question_and_options("videomme", doc, "") == ("Which?", ("A", "B"))


def test_letters_are_stripped_only_if_every_option_has_one():
    doc = {"question": "Who?", "options": ["A. Smith did", "Nobody did"]}
    assert question_and_options("videomme", doc, "") == ("Who?", ("A. Smith did", "Nobody did"))


def test_subtitles_come_from_the_text():
    text = "Subtitles: hello there\nWhat?\nA. x\nB. y\nThe best answer is:"
    doc = {"question": "What?", "options": ["A. x", "B. y"]}
    assert question_and_options("videomme_w_subtitle", doc, text) == ("Subtitles: hello there\nWhat?", ("x", "y"))


def test_words_a_task_adds_to_every_question_are_removed():
    around = words_around(
        {"pre_prompt": "Look. ", "post_prompt": " Answer the question using a single word or phrase."}
    )
    text = "Look. Is it red? Answer the question using a single word or phrase."
    assert question_and_options("activitynetqa", {}, text, around) == ("Is it red?", ())


def test_added_words_may_differ_by_kind():
    settings = {"pre_prompt": "", "post_prompt": {"yes_no": "\nPlease answer yes or no:", "captioning": ""}}
    assert words_around(settings) == ["\nPlease answer yes or no:"]
    assert words_around(None) == []
