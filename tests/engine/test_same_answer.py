"""Answers do not depend on other requests, caches, chunks or formats."""

import pytest
import torch

from sfllava_plugin.engine.serving.video_loader import metadata
from sfllava_plugin.video.decode import decode
from tests.engine.families import Case
from tests.engine.support import forget, model_of

QUESTIONS = ["What is happening?", "Who is there, and why?", "What is the weather like in the second half?"]


#: Frames of a video, and the checkpoint in each format. LLaVA-NeXT-Video's program scales the positions of the original
#: by two; the hf file of the same weights must be told to.
MODELS = {
    "sf-llava": (50, None),
    "onevision": (6, {"hf": Case("onevision", {}), "original": Case("onevision-original", {})}),
    "next-video": (
        6,
        {"hf": Case("next-video", {"rope": "linear-2"}), "original": Case("next-video-original", {})},
    ),
}


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


@pytest.fixture
def start(name, runners, family_runner):
    """start(format, **engine arguments): an engine of the model."""
    cases = MODELS[name][1]

    def engine(layout="hf", **arguments):
        return family_runner(cases[layout], **arguments) if cases else runners(layout=layout, **arguments)

    return engine


@pytest.fixture
def ask(name, bikes):
    """ask(runner, questions, clip): the greedy outputs of questions submitted together."""
    from vllm import SamplingParams

    def submit(runner, questions, clip=bikes):
        config, frames = runner.video_config, MODELS[name][0]
        size, fit = config.geometry.image_size, config.frame_fit
        video = decode(clip, num_frames=frames, image_size=size, sampling=config.sampling, fit=fit)
        prompts = [
            {"prompt": runner.prompt(text), "multi_modal_data": {"video": [(video.frames, metadata(video))]}}
            for text in questions
        ]
        # The template has already written the first token.
        sampling = SamplingParams(temperature=0, max_tokens=16)
        kwargs = {"add_special_tokens": False}
        return runner.engine.generate(prompts, sampling, use_tqdm=False, tokenization_kwargs=kwargs)

    return submit


def token_ids(outputs):
    return [list(output.outputs[0].token_ids) for output in outputs]


@pytest.fixture
def tower_runs(start, monkeypatch):
    """The number of frames in each run of the tower."""
    encoder = model_of(start()).frame_encoder
    runs = []
    features = encoder.features

    def encode(tower, frames):
        runs.append(len(frames))
        return features(tower, frames)

    monkeypatch.setattr(encoder, "features", encode)
    return runs


def test_both_formats_give_the_same_tokens(start, ask):
    engines = [start(layout) for layout in ("hf", "original")]
    answers = [token_ids(ask(runner, QUESTIONS)) for runner in engines]
    assert answers[0] == answers[1]
    assert engines[0].prompt(QUESTIONS[0]) == engines[1].prompt(QUESTIONS[0])


def test_both_formats_give_the_same_text(runners, bikes):
    from sfllava_plugin.engine.offline import Question

    answers = [
        runners(layout=layout).answer(Question(bikes, QUESTIONS[0], max_tokens=12)) for layout in ("hf", "original")
    ]
    assert answers[0].text == answers[1].text != ""


def test_questions_together_get_the_answers_of_each_alone(start, ask, clips):
    runner = start()
    alone = [token_ids(ask(runner, [question]))[0] for question in QUESTIONS]
    forget(runner)
    assert token_ids(ask(runner, QUESTIONS)) == alone
    other = token_ids(ask(runner, QUESTIONS, clips(12)))
    assert other != alone, "the video makes no difference"


def test_a_second_question_finds_the_video_cached(name, start, ask, tower_runs):
    runner, frames = start(), MODELS[name][0]
    forget(runner)
    fresh = ask(runner, [QUESTIONS[0]])
    assert tower_runs == [frames]
    fresh_second = ask(runner, [QUESTIONS[1]])
    assert tower_runs == [frames], "the tower ran again for the second question"
    prompt = fresh_second[0].prompt_token_ids
    marker = runner.engine.get_tokenizer().convert_tokens_to_ids("<image>")
    end_of_video = len(prompt) - prompt[::-1].index(marker)
    block = runner.engine.llm_engine.vllm_config.cache_config.block_size
    assert fresh_second[0].num_cached_tokens >= end_of_video // block * block
    # A warm cache gives the answers of a cold one.
    assert token_ids(ask(runner, [QUESTIONS[0]])) == token_ids(fresh)
    forget(runner)
    assert token_ids(ask(runner, [QUESTIONS[1]])) == token_ids(fresh_second)


def test_chunked_prefill_changes_no_answer(start, ask):
    chunked = start(max_num_batched_tokens=512, enable_chunked_prefill=True)
    assert token_ids(ask(chunked, QUESTIONS)) == token_ids(ask(start(), QUESTIONS))


def test_half_precision_is_close_to_float32(runners, bikes):
    from sfllava_plugin.engine.offline import Question

    frames = torch.from_numpy(decode(bikes, num_frames=50, image_size=336).frames)
    exact, half = model_of(runners()), model_of(runners(dtype="bfloat16"))
    with torch.inference_mode():
        [expected] = exact.embed_multimodal(video_frames=[frames])
        [tokens] = half.embed_multimodal(video_frames=[frames])
    assert tokens.dtype == torch.bfloat16
    relative = (tokens.float() - expected).norm() / expected.norm()
    assert relative < 0.03
    assert runners(dtype="bfloat16").answer(Question(bikes, "What?", max_tokens=4)).token_ids
