"""Many questions: same answers in any order, videos decoded once, failures isolated."""

import dataclasses
import random
from collections import Counter

import pytest

from sfllava_plugin.engine.offline import Answer, Failure, Question, Runner, plan
from sfllava_plugin.shapes import clips
from tests.engine.support import KV_CACHE, forget

VIDEOS = 50


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """Three rounds of one question on each of fifty videos, one broken."""
    folder = tmp_path_factory.mktemp("shapes")
    made = [clips.clip(30_000 + number) for number in range(VIDEOS)]
    videos = [str(clips.write_clip(clip.scene, folder / f"{number}.mp4")) for number, clip in enumerate(made)]
    (folder / "13.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(500))
    asked = [
        [Question(video, question.text, question.options, 24) for video, question in zip(videos, column, strict=True)]
        for column in (
            [clip.open_ended[0] for clip in made],
            [clip.multiple_choice[-1] for clip in made],
            [clip.open_ended[-1] for clip in made],
        )
    ]
    return [question for column in asked for question in column]


@pytest.fixture(scope="module")
def answers(tiny, questions):
    return dict(tiny.answers(questions))


def record_schedules(runner, monkeypatch):
    """Return a list which collects the outputs of vLLM's scheduler."""
    outputs = []
    scheduler = runner.engine.llm_engine.engine_core.engine_core.scheduler
    schedule = scheduler.schedule
    monkeypatch.setattr(scheduler, "schedule", lambda *args: outputs.append(schedule(*args)) or outputs[-1])
    return outputs


def test_a_broken_video_fails_only_its_own_questions(answers, questions):
    assert sorted(answers) == list(range(len(questions)))
    broken = [position for position, question in enumerate(questions) if question.video.endswith("/13.mp4")]
    assert sorted(position for position, result in answers.items() if isinstance(result, Failure)) == broken
    assert all("13.mp4" in str(answers[position].error) for position in broken)


def test_the_order_of_questions_changes_no_answer(tiny, answers, questions):
    order = list(range(len(questions)))
    random.Random(0).shuffle(order)
    again = dict(tiny.answers([questions[position] for position in order]))
    for place, position in enumerate(order):
        if isinstance(answers[position], Answer):
            assert again[place].token_ids == answers[position].token_ids
            assert again[place].prompt_token_ids == answers[position].prompt_token_ids


def test_a_question_alone_gets_the_same_answer(tiny, answers, questions):
    forget(tiny)
    for position in (0, 60, 120):
        assert tiny.answer(questions[position]).token_ids == answers[position].token_ids


def test_every_video_is_decoded_and_encoded_once(tiny, questions, monkeypatch):
    read = []

    def counted(path, **settings):
        read.append(path)
        return real(path, **settings)

    real = plan.read_video
    monkeypatch.setattr(plan, "read_video", counted)
    forget(tiny)
    schedules = record_schedules(tiny, monkeypatch)
    assert len(dict(tiny.answers(questions))) == len(questions)
    assert sorted(read) == sorted({question.video for question in questions})
    assert sum(len(output.scheduled_encoder_inputs) for output in schedules) == VIDEOS - 1


@pytest.fixture(scope="session")
def narrow():
    """An engine which encodes one video per step, as with real videos."""
    return Runner("sf-llava-tiny", {"kv_cache_memory_bytes": KV_CACHE, "max_num_batched_tokens": 270})


def test_further_questions_on_a_video_do_not_read_it_again(narrow, questions, monkeypatch):
    schedules = record_schedules(narrow, monkeypatch)
    asked = [dataclasses.replace(question, options=()) for question in questions[:6] for _ in range(4)]
    results = dict(narrow.answers(asked))

    read, from_cache = Counter(), {}
    for output in schedules:
        for request, tokens in output.num_scheduled_tokens.items():
            read[request.split("-")[0]] += tokens
    for position, result in results.items():
        # The engine never reads the last token of an answer.
        whole = len(result.prompt_token_ids) + len(result.token_ids) - 1
        from_cache[position] = whole - read[str(position)]
    block = narrow.engine.llm_engine.vllm_config.cache_config.block_size
    assert from_cache == {position: block if position % 4 else 0 for position in range(len(asked))}


def test_stopping_early_empties_the_engine(tiny, answers, questions):
    some = tiny.answers(questions)
    next(some)
    some.close()
    assert not tiny.engine.llm_engine.has_unfinished_requests()
    assert tiny.answer(questions[1]).token_ids == answers[1].token_ids


def test_a_question_that_is_too_long_fails_alone(tiny, answers, questions):
    long = Question(questions[0].video, "why " * 2000)
    found = dict(tiny.answers([questions[0], long, questions[50]]))
    assert "maximum context length" in str(found[1].error)
    assert found[0].token_ids == answers[0].token_ids
    assert found[2].token_ids == answers[50].token_ids
