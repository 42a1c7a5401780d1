"""The encoder cache holds as many videos as the operator says, and vLLM measures its memory."""

import json

from sfllava_plugin.limits import DEFAULTS
from tests.engine.support import model_of


def config_of(runner):
    return runner.engine.llm_engine.vllm_config


def scheduler_of(runner):
    return runner.engine.llm_engine.engine_core.engine_core.scheduler


def test_it_holds_as_many_videos_as_the_limits_say(runners):
    size = DEFAULTS.cached_videos * 3680
    assert config_of(runners()).scheduler_config.encoder_cache_size == size
    assert scheduler_of(runners()).encoder_cache_manager.cache_size == size


def test_an_operator_chooses_how_many(runners, tmp_path, monkeypatch):
    registry = tmp_path / "registry.yaml"
    registry.write_text(json.dumps({"limits": {"cached_videos": 5}}))
    monkeypatch.setenv("SFLLAVA_REGISTRY", str(registry))
    runner = runners(max_num_seqs=7)
    assert scheduler_of(runner).encoder_cache_manager.cache_size == 5 * 3680
    # One to spare.
    assert runner._bounds.embeddings == 4


def test_memory_is_measured_with_a_full_cache(runners, monkeypatch):
    runner = runners()
    worker = runner.engine.llm_engine.model_executor.driver_worker.worker.model_runner
    model = model_of(runner)
    size = config_of(runner).scheduler_config.encoder_cache_size
    measured = []

    def dummy_run(*args, **kwargs):
        kept = {id(e.untyped_storage()): e.untyped_storage().nbytes() for e in worker.encoder_cache.values()}
        measured.append(sum(kept.values()))
        return real(*args, **kwargs)

    real = worker._dummy_run
    monkeypatch.setattr(worker, "_dummy_run", dummy_run)
    # As in an engine that starts.
    monkeypatch.setattr(model, "_uncounted_tokens", size)
    worker.profile_run()
    width, float32 = 128, 4
    assert measured == [size * width * float32]
    assert not worker.encoder_cache
    assert model._uncounted_tokens == 0
