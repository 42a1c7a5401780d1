"""Sharing in the prefix cache, against a simulation of its blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfllava_plugin.engine.offline.sharing import CachedVideo, Prompt

MARKER = 99


def prompt(*token_ids, continuation=()):
    return Prompt("", list(token_ids), list(continuation))


def expanded(token_ids, video_tokens):
    return [piece for token in token_ids for piece in ([MARKER] * video_tokens if token == MARKER else [token])]


def cached(first, later, block_size):
    """Return how many tokens of ``later`` are cached after ``first``.

    They are whole equal blocks, and never include the last token.
    """
    found = 0
    while found + block_size <= len(later) - 1 and later[: found + block_size] == first[: found + block_size]:
        found += block_size
    return found


@given(
    before=st.lists(st.integers(1, 3), max_size=40),
    after=st.lists(st.integers(1, 3), max_size=60),
    tails=st.lists(st.lists(st.integers(1, 3), max_size=30), min_size=2, max_size=5),
    video_tokens=st.integers(1, 100),
    block_size=st.sampled_from([1, 16, 128]),
)
def test_embeddings_are_needed_exactly_if_the_last_shared_block_ends_inside_the_video(
    before, after, tails, video_tokens, block_size
):
    prompts = [[*before, MARKER, *after, *tail] for tail in tails]
    whole = [expanded(token_ids, video_tokens) for token_ids in prompts]
    end = len(before) + video_tokens
    # For every choice of leader and follower.
    least = min(cached(a, b, block_size) for i, a in enumerate(whole) for j, b in enumerate(whole) if i != j)
    video = CachedVideo(MARKER, video_tokens, block_size)
    assert video.needs_embeddings([prompt(*token_ids) for token_ids in prompts]) == (least < end)


@pytest.mark.parametrize(("after", "needed"), [(0, True), (12, True), (13, False), (100, False)])
def test_13_shared_tokens_after_the_video_are_enough_for_blocks_of_16(after, needed):
    # 35 tokens and 3680 of the video end 3 tokens into a block: 13 more fill it.
    assert (35 + 3680) % 16 == 3
    prompts = [prompt(*range(35), MARKER, *[7] * after, number, 5) for number in (1, 2)]
    assert CachedVideo(MARKER, 3680, 16).needs_embeddings(prompts) == needed


def test_a_single_question_needs_no_embeddings_again():
    assert not CachedVideo(MARKER, 100, 16).needs_embeddings([prompt(1, MARKER)])


def test_the_prefix_ends_with_the_video():
    assert prompt(1, 2, MARKER, 3).prefix(MARKER) == (1, 2, MARKER)
    assert prompt(1, 2).prefix(MARKER) == (1, 2)


def test_the_prefix_ends_with_the_last_picture():
    assert prompt(1, MARKER, 2, MARKER, 3).prefix(MARKER) == (1, MARKER, 2, MARKER)


def test_a_leader_caches_its_video_and_a_follower_only_its_own_text():
    video = CachedVideo(MARKER, 1000, 16)
    question = prompt(1, MARKER, *range(50), continuation=range(10))
    assert video.cache_tokens(question, leads=True) >= 1 + 1000 + 50 + 10
    assert 60 <= video.cache_tokens(question, leads=False) <= 60 + 3 * 16
