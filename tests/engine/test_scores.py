"""Scores of continuations against transformers on the same weights."""

import dataclasses

import pytest

from sfllava_plugin.video.decode import decode
from tests import reference
from tests.engine.support import LOGPROBS

DEFAULT = "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4"
#: They share prefixes; that of the last two is longer than a block of the prefix cache.
SHARED = "the person " + " and then walks to the door" * 30
CONTINUATIONS = [
    " the person cuts a tomato",
    " the person cuts a tomato and eats it",
    " nothing",
    f" {SHARED} and leaves",
    f" {SHARED} and comes back",
]


@pytest.fixture
def questions(clips):
    from sfllava_plugin.engine.offline import Question

    return [Question(clips(12), "What happens?", continuation=continuation) for continuation in CONTINUATIONS]


def expected(folder, runner, question):
    tokenizer = runner.engine.get_tokenizer()
    prompt = runner.prompt(question.text, question.options, question.prompt_frame)
    text = prompt.removeprefix(tokenizer.bos_token or "\0")
    before = reference.prompt_token_ids(tokenizer, text)
    whole = reference.prompt_token_ids(tokenizer, text + question.continuation)
    continuation = whole[len(before) :]
    frames = decode(question.video, num_frames=50, image_size=336).frames
    features = reference.video_features(folder, frames, DEFAULT)
    return continuation, reference.continuation_logprobs(folder, before, features, continuation)


def assert_matches(score, folder, runner, question):
    tokens, logprobs = expected(folder, runner, question)
    assert score.token_ids == tokens
    assert len(score.logprobs) == len(tokens)
    differences = [abs(ours - theirs) for ours, theirs in zip(score.logprobs, logprobs.tolist(), strict=True)]
    assert max(differences) < LOGPROBS


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_scores_match_transformers(runners, checkpoints, questions, layout):
    runner = runners(layout=layout)
    runner.engine.reset_prefix_cache()
    scores = dict(runner.answers(questions))
    for position, question in enumerate(questions):
        assert_matches(scores[position], checkpoints(), runner, question)
    # This time every token is in the prefix cache.
    again = dict(runner.answers(questions[::-1]))
    for position, question in enumerate(questions[::-1]):
        assert_matches(again[position], checkpoints(), runner, question)


def test_the_greedy_answer_scores_as_greedy(runners, questions):
    runner = runners()
    asked = dataclasses.replace(questions[0], continuation=None, max_tokens=4)
    answer = runner.answer(asked)
    text = runner.engine.get_tokenizer().decode(answer.token_ids)
    greedy, other = (
        dataclasses.replace(questions[0], continuation=continuation) for continuation in (f" {text}", " zebra")
    )
    scores = dict(runner.answers([greedy, other]))
    if scores[0].token_ids == answer.token_ids:  # decoding and tokenising may change random tokens
        assert scores[0].is_greedy
    assert not scores[1].is_greedy


def test_questions_and_continuations_can_be_mixed(runners, questions):
    runner = runners()
    asked = dataclasses.replace(questions[0], continuation=None, max_tokens=4)
    alone = runner.answer(asked)
    results = dict(runner.answers([questions[1], asked, questions[2]]))
    assert results[1].token_ids == alone.token_ids
    assert results[0].logprobs
    assert results[2].logprobs


def test_a_continuation_has_no_answer(runners, questions):
    with pytest.raises(ValueError, match="a continuation gets a score, not an answer"):
        runners().answer(questions[0])


def test_an_empty_continuation_is_an_error(runners, questions):
    runner = runners()
    empty = dataclasses.replace(questions[0], continuation="")
    results = dict(runner.answers([empty, questions[2]]))
    assert "empty continuation" in str(results[0].error)
    assert results[1].logprobs
