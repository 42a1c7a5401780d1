"""Read the letter from a reply to a multiple-choice question."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sfllava_plugin.prompts.choices import read_choice
from tests.prompts.replies import PETS, REPLIES

TABLE = [(reply, options, letter) for options, rows in REPLIES.items() for reply, letter in rows]


@pytest.mark.parametrize(("reply", "options", "letter"), TABLE)
def test_a_reply_is_read_as_a_person_would_read_it(reply, options, letter):
    assert read_choice(reply, options) == letter


def test_the_table_is_long_enough():
    assert len(TABLE) >= 100


@pytest.mark.parametrize("options", REPLIES)
def test_a_letter_after_the_prompts_parenthesis_wins_over_the_rest(options):
    for letter in string.ascii_uppercase[: len(options)]:
        for other in options:
            assert read_choice(f"{letter}) {other}", options) == letter
            assert read_choice(f" {letter}) not {other}", options) == letter
            assert read_choice(f"({letter}) {other}", options) == letter


def test_without_options_there_is_no_letter():
    assert read_choice("A", []) is None


def test_options_after_z_have_no_letter():
    options = [f"number {number}" for number in range(30)]
    assert read_choice("number 25", options) == "Z"
    assert read_choice("number 27", options) is None


#: Pieces of replies, including the private characters that `read_choice` uses as marks.
PIECES = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        [*"ABab().:,*_\n '-/", "\ue000", "\ue001", "answer is ", "option ", "not ", "n't", " or ", "a dog"]
    ),
)
REPLY = st.lists(PIECES, max_size=12).map("".join)


@given(reply=REPLY, options=st.lists(REPLY, max_size=8))
@example("\u0131", ["x"] * 26)
@example("\ue000", ["a", "b"])
def test_any_reply_is_a_letter_of_the_options_or_none(reply, options):
    assert read_choice(reply, options) in {None, *string.ascii_uppercase[: len(options)]}


@given(letter=st.sampled_from("ABC"), rest=st.text())
def test_a_reply_that_continues_the_prompt_is_its_letter(letter, rest):
    """The exception, a list of all options, is too unlikely to be drawn."""
    assert read_choice(f"{letter}) {rest}", PETS) == letter


@given(options=st.lists(REPLY, min_size=1, max_size=8))
def test_a_letter_alone_is_itself(options):
    """Tasks read a reply again that the evaluation has already reduced to its letter."""
    for letter in string.ascii_uppercase[: len(options)]:
        assert read_choice(letter, options) == letter


@given(reply=REPLY)
def test_white_space_around_a_reply_does_not_matter(reply):
    assert read_choice(f"\n  {reply}\r\n ", PETS) == read_choice(reply.strip(), PETS)


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "A",
            "A ",
            "a ",
            "A, ",
            "A/",
            "A or ",
            "A)\n",
            "(A",
            "((A)",
            "B is ",
            "A is not ",
            "is is ",
            "not ",
            "n't ",
            "no",
        ),
        *(
            "answer ",
            "answer is ",
            "the answer is to the ",
            "option ",
            "so so ",
            "a dog sits ",
            "A dog ",
            "dog",
            "the the ",
        ),
        *(
            "\n",
            " ",
            "\t\n",
            "- \n",
            "_",
            "*",
            ".",
            ". ",
            "e.g. ",
            "'",
            "1.",
            "\ue000",
            "e\u0301\u0316",
            "公",
            "nor A ",
        ),
    ],
)
def test_a_long_reply_takes_linear_time(piece):
    """A rule that scans the whole reply for each character would take hours."""
    reply = piece * (200_000 // len(piece))
    assert read_choice(reply, PETS) in {None, "A", "B"}
    assert read_choice(f"C) {reply}", PETS) == "C"
