"""Reading the letter out of a reply to a multiple-choice question."""

import pytest

from sfllava_plugin.prompts import read_choice

PETS = ["A dog sits", "A cat sleeps", "Nobody is there"]


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        # The frame ends in "Best option:(", so this is what a reply looks like.
        ("B) A cat sleeps", "B"),
        ("B)", "B"),
        ("b) a cat", "B"),
        ("B", "B"),
        ("b", "B"),
        (" B \n", "B"),
        ("(B)", "B"),
        ("(b) sleeps", "B"),
        ("B.", "B"),
        ("B: it sleeps", "B"),
        ("B, as it sleeps", "B"),
        ("A) A dog sits\nB) A cat sleeps", "A"),
        # Said in a sentence.
        ("The answer is B", "B"),
        ("The answer is (c).", "C"),
        ("Answer: B", "B"),
        ("I would choose option c, because", "C"),
        ("The best option:(B)", "B"),
        ("It must be (C) as the street is empty", "C"),
        ("The correct\nanswer is B.", "B"),
        # Said in words: the text of exactly one option.
        ("A dog sits", "A"),
        ("I see that a dog SITS on the floor", "A"),
        ("nobody is there.", "C"),
        ("A dog sits and a cat sleeps", None),
        # No letter: the article, another word that begins with it, a letter that is not offered.
        ("A dog runs", None),
        ("a man walks", None),
        ("The answer is a man", None),
        ("Bikes", None),
        ("D", None),
        ("D) something else", None),
        ("(E)", None),
        ("The answer is D", None),
        ("I cannot tell", None),
        ("", None),
        ("  \n", None),
    ],
)
def test_replies(reply, letter):
    assert read_choice(reply, PETS) == letter


def test_text_of_an_option_counts_only_when_it_is_offered():
    assert read_choice("A dog sits", PETS) == "A"
    assert read_choice("A dog sits", ["It rains", "A cat sleeps"]) is None


def test_an_empty_option_is_in_no_reply():
    assert read_choice("it rains", ["", "it rains"]) == "B"


def test_without_options_there_is_no_letter():
    assert read_choice("A", []) is None


def test_the_last_letters_of_many_options():
    options = [f"number {i}" for i in range(26)]
    assert read_choice("Z", options) == "Z"
    assert read_choice("number 20", options) is None  # "number 2" is in it too
