"""A compiled language model, vLLM's default, gives the same answers as the eager one.

vLLM compiles the classes it decorates with `support_torch_compile` (vllm/compilation/decorators.py): here, the inner
language model. The other tests' engines are eager, because compiling takes ten seconds or more at every start on a CPU.
"""

import pytest

from sfllava_plugin.shapes import clips
from tests.engine.support import KV_CACHE, model_of

pytestmark = pytest.mark.slow

SEEDS = range(20_000, 20_004)
#: Half a dozen roundings of float16 at these log-probabilities; 0.02 was measured.
LOGPROBS = 0.1


@pytest.fixture(scope="module")
def compiled():
    """A compiling engine of sf-llava-tiny, and vLLM's counts of what it compiled."""
    from vllm.compilation.counter import compilation_counter

    from sfllava_plugin.engine.offline.runner import Runner

    before = compilation_counter.clone()
    # Never closed: closing one engine destroys the process groups of the others.
    runner = Runner("sf-llava-tiny", {"kv_cache_memory_bytes": KV_CACHE, "enforce_eager": False})
    counted = {name: count - getattr(before, name) for name, count in vars(compilation_counter).items()}
    return runner, counted


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    from sfllava_plugin.engine.offline.questions import Question

    folder = tmp_path_factory.mktemp("clips")
    asked = []
    for clip in map(clips.clip, SEEDS):
        video = str(clips.write_clip(clip.scene, folder / f"{clip.scene.seed}.mp4"))
        for question in [*clip.open_ended, *clip.multiple_choice]:
            asked.append(Question(video, question.text, question.options, 24, logprobs=5))
    assert len(asked) > 80
    return asked


def test_the_language_model_is_compiled(compiled):
    runner, counted = compiled
    assert counted["num_models_seen"] == 1
    # Compiled now, or read from the cache of an earlier start.
    assert counted["num_aot_compiles"] + counted["num_aot_artifacts_loaded"] == 1
    decorated = [part for part in model_of(runner).modules() if hasattr(part, "do_not_compile")]
    assert decorated == [model_of(runner).language_model.model]


def test_answers_equal_the_eager_ones(compiled, tiny, questions, monkeypatch):
    runner, _ = compiled

    def uncompiled(*args, **kwargs):
        raise AssertionError("the language model ran without having been compiled")

    # Compiled code bypasses these; an eager engine calls all three.
    language_model = model_of(runner).language_model.model
    monkeypatch.setattr(language_model, "forward", uncompiled)
    for layer in (language_model.layers[0], language_model.layers[-1]):
        monkeypatch.setattr(layer, "forward", uncompiled)
    answers, eager = dict(runner.answers(questions)), dict(tiny.answers(questions))
    for i, question in enumerate(questions):
        ours, theirs = answers[i], eager[i]
        assert ours.token_ids == theirs.token_ids, (question, ours.text, theirs.text)
        logprobs = {top["token_id"]: top["logprob"] for top in theirs.logprobs[:1]}
        for top in ours.logprobs[:1]:
            assert abs(top["logprob"] - logprobs[top["token_id"]]) < LOGPROBS
