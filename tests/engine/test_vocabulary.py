"""Tokens without a row in the weights.

In the original format, these are the video's marker and everything after it.
"""

import pytest
import torch

from examples.random_checkpoint import REAL_GRID
from tests.engine.support import model_of


@pytest.fixture(params=["vicuna", "yi"])
def runner(request, runners):
    return runners(request.param, "original")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_probabilities_of_other_tokens_are_bit_identical(runner, dtype):
    model = model_of(runner)
    rows = model.video_config.trained_vocab_size
    hidden = torch.randn(8, REAL_GRID.text_hidden, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = model.compute_logits(hidden)
        known = model.language_model.compute_logits(hidden)[:, :rows]
    assert torch.equal(logits[:, :rows], known)
    # Sampling is in float32 with any dtype of the model.
    logits, known = logits.to(dtype).float(), known.to(dtype).float()
    assert torch.equal(logits.log_softmax(-1)[:, :rows], known.log_softmax(-1))
    assert not logits.softmax(-1)[:, rows:].any()
    assert logits.isfinite().all()


def test_missing_rows_are_zero(runner):
    model = model_of(runner)
    rows = model.video_config.trained_vocab_size
    for table in (model.language_model.model.embed_tokens, model.language_model.lm_head):
        assert table.num_embeddings == 32064
        assert table.weight[rows - 1].any()
        assert not table.weight[rows:].any()


def test_missing_tokens_are_never_sampled(runner):
    from vllm import SamplingParams

    marker = model_of(runner).config.image_token_index
    sampling = SamplingParams(
        temperature=2.0, seed=0, max_tokens=200, ignore_eos=True, logit_bias={marker: 100.0}, detokenize=False
    )
    [output] = runner.engine.generate({"prompt_token_ids": [1, 100]}, sampling, use_tqdm=False)
    assert max(output.outputs[0].token_ids) < model_of(runner).video_config.trained_vocab_size
