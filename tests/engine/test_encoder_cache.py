"""The encoder cache: its size, and the memory that vLLM measures."""

import json

import pytest

from sfllava_plugin.engine.offline import Question
from sfllava_plugin.limits import DEFAULTS
from tests.engine.support import forget


def config_of(runner):
    return runner.engine.llm_engine.vllm_config


def worker_of(runner):
    return runner.engine.llm_engine.model_executor.driver_worker.worker.model_runner


def scheduler_of(runner):
    return runner.engine.llm_engine.engine_core.engine_core.scheduler


def test_its_size_comes_from_the_limits(runners):
    size = DEFAULTS.cached_videos * 3680
    assert config_of(runners()).scheduler_config.encoder_cache_size == size
    assert scheduler_of(runners()).encoder_cache_manager.cache_size == size


def test_an_operators_limit_applies(runners, tmp_path, monkeypatch):
    registry = tmp_path / "registry.yaml"
    registry.write_text(json.dumps({"limits": {"cached_videos": 5}}))
    monkeypatch.setenv("SFLLAVA_REGISTRY", str(registry))
    runner = runners(max_num_seqs=7)
    assert scheduler_of(runner).encoder_cache_manager.cache_size == 5 * 3680
    # One is kept in reserve.
    assert runner._bounds.embeddings == 4


@pytest.fixture
def measuring(runners, monkeypatch):
    """An engine without a KV cache yet, as when vLLM measures memory."""
    runner = runners()
    forget(runner)
    with monkeypatch.context() as patch:
        patch.setattr(config_of(runner).cache_config, "num_gpu_blocks", None)
        yield runner
    # Measuring empties the worker's cache but not the scheduler's record of it.
    forget(runner)


def cached_bytes(worker):
    storages = {id(storage): storage for storage in (e.untyped_storage() for e in worker.encoder_cache.values())}
    return sum(storage.nbytes() for storage in storages.values())


def test_memory_is_measured_with_a_full_cache(measuring, monkeypatch):
    worker = worker_of(measuring)
    measured, real = [], worker._dummy_run

    def dummy_run(*args, **kwargs):
        measured.append(cached_bytes(worker))
        return real(*args, **kwargs)

    monkeypatch.setattr(worker, "_dummy_run", dummy_run)
    worker.profile_run()
    width, float32 = 128, 4
    assert measured == [config_of(measuring).scheduler_config.encoder_cache_size * width * float32]


def test_a_video_takes_memory_for_its_own_embeddings_only(runners, bikes):
    """Without measuring, as on a CPU, the cache grows video by video."""
    runner = runners()
    forget(runner)
    runner.answer(Question(str(bikes), "What?", max_tokens=1))
    width, float32 = 128, 4
    assert cached_bytes(worker_of(runner)) == 3680 * width * float32
