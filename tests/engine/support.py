"""Helpers for the engine tests: the model inside, and equal answers."""

from tests import reference

#: Bytes of each engine's KV cache: 65536 tokens of the random checkpoints. Many engines exist at once.
KV_CACHE = 64 * 2**20

#: Tolerances in float32: of features, of log-probabilities, and the margin below which a greedy step is a toss-up.
FEATURES, LOGPROBS, MARGIN = 1e-4, 1e-3, 1e-3


def model_of(runner):
    """Return the torch module in the engine's worker."""
    return runner.engine.llm_engine.model_executor.driver_worker.worker.model_runner.model


def forget(runner):
    """Empty every cache of the engine."""
    runner.engine.reset_prefix_cache()
    runner.engine.reset_mm_cache()
    runner.engine.llm_engine.reset_encoder_cache()


def expected_answer(folder, runner, question, frames, notation):
    """Recompute prompt and greedy answer without the package or vLLM."""
    tokenizer = runner.engine.get_tokenizer()
    prompt = runner.prompt(question.text, question.options)
    # The reference tokenises plain text, which adds the first token.
    ids = reference.prompt_token_ids(tokenizer, prompt.removeprefix(tokenizer.bos_token or "\0"))
    features = reference.video_features(folder, frames, notation)
    marker = tokenizer.convert_tokens_to_ids("<image>")
    expanded = [token for i in ids for token in ([marker] * len(features) if i is None else [i])]
    return expanded, reference.greedy(folder, ids, features, question.max_tokens)


def assert_same_answer(answer, expected_ids, expected):
    """Compare prompts, first log-probabilities, and tokens before the first toss-up."""
    assert answer.prompt_token_ids == expected_ids
    assert len(answer.logprobs) == 5
    for top in answer.logprobs:
        assert abs(top["logprob"] - expected.first_logprobs[top["token_id"]].item()) < LOGPROBS
    sure = next((i for i, margin in enumerate(expected.margins) if margin < MARGIN), len(expected.margins))
    assert sure > 0, "the reference's first step is a toss-up: choose another seed"
    assert answer.token_ids[:sure] == expected.token_ids[:sure]
