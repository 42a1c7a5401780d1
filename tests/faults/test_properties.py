"""Properties that hold for every input: frames, tokens, notations, questions, journals, registries."""

import io
import json
import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from sfllava_plugin import registry
from sfllava_plugin.batch.files import BatchError, Row, dump, read_rows
from sfllava_plugin.batch.results import Results, keys_of
from sfllava_plugin.evaluation.journal import Journal
from sfllava_plugin.limits import DEFAULTS
from sfllava_plugin.registry import RegistryError
from sfllava_plugin.tokens.arrangement import Arrangement, Newline, Order, PoolPlace
from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.layout import Fast, Interleaved, Single, Slow, SlowFast, parse, video_tokens
from sfllava_plugin.tokens.notation import POOLS, STRIDED_POOLS, TEMPORAL_POOLS, PathwayError
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.resize import resize_frames
from sfllava_plugin.video.sampling import sample_indices
from tests.engine.support import model_of

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def pathways_of(grid, slow_frames=60):
    """Generate pathways for ``grid`` x ``grid`` patches, and some too large."""
    slow_fast = st.builds(
        SlowFast,
        st.builds(Slow, st.integers(1, slow_frames), st.sampled_from(POOLS)),
        st.builds(Fast, st.integers(1, grid), st.integers(1, grid)),
    )
    return slow_fast | st.builds(Single, st.sampled_from([*POOLS, *TEMPORAL_POOLS]))


released_pathway = pathways_of(grid=12)
interleaved = st.builds(Interleaved, st.integers(1, 40), st.sampled_from(STRIDED_POOLS))
every_pathway = released_pathway | interleaved
arrangements = st.builds(Arrangement, *(st.sampled_from(get_args(setting)) for setting in (Newline, Order, PoolPlace)))


# -- frames -------------------------------------------------------------------------------------


@given(total=st.integers(1, 10**7), wanted=st.integers(1, 1024))
@settings(max_examples=300)
def test_sampled_frames_are_the_middles_of_equal_parts(total, wanted):
    found = sample_indices(total, wanted)
    parts = min(total, wanted)
    assert len(found) == parts
    assert all(type(index) is int and 0 <= index < total for index in found)
    assert found == sorted(found)
    # Three roundings move a middle by at most one frame.
    assert all(abs(index - (2 * i + 1) * (total - 1) / (2 * parts)) <= 1 for i, index in enumerate(found))


@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 3, 4])), min_size=1, max_size=5
    ),
    side=st.integers(1, 30),
)
def test_frames_of_any_size_are_resized_as_by_pil(sizes, side):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (h, w, c) if c else (h, w), dtype=np.uint8) for h, w, c in sizes]
    squares = resize_frames(frames, side)
    assert squares.shape == (len(frames), side, side, 3)
    for frame, square in zip(frames, squares, strict=True):
        expected = Image.fromarray(frame).convert("RGB").resize((side, side), Image.BICUBIC)
        assert np.array_equal(square, np.asarray(expected))


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=5), kind=st.sampled_from(["u1", "i4", "f4", "b1", "O"]))
def test_arrays_that_are_not_frames_are_refused(shape, kind):
    try:
        frames = resize_frames(np.zeros(shape, kind), 4)
    except VideoError as error:
        assert "\n" not in str(error)
    else:
        assert kind == "u1" and frames.shape == (shape[0], 4, 4, 3)


# -- tokens -------------------------------------------------------------------------------------


@given(frames=st.integers(1, DEFAULTS.frames), grid=st.integers(1, 32), arrangement=arrangements, choice=st.data())
@settings(max_examples=400)
def test_the_number_of_tokens_is_the_one_counted(frames, grid, arrangement, choice):
    pathway = choice.draw(pathways_of(grid, slow_frames=2 * frames) | interleaved).arranged(arrangement)
    try:
        pathway.check(Grid(rows=grid, columns=grid))
    except PathwayError:
        assume(False)
    features = torch.arange(frames * grid * grid, dtype=torch.float32).view(frames, grid * grid, 1)
    extra = {name: torch.zeros(2) for name in pathway.extra_weights}
    tokens = video_tokens(features, pathway, lambda hidden: hidden.expand(*hidden.shape[:-1], 2), extra=extra)
    assert tokens.shape == (pathway.count(frames, Grid(rows=grid, columns=grid)), 2)
    assert tokens.isfinite().all()


@given(pathway=released_pathway, frames=st.lists(st.integers(1, 16), min_size=1, max_size=2))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_placeholders_and_embeddings_agree_in_the_engine(tiny, pathway, frames):
    from vllm.multimodal import MULTIMODAL_REGISTRY
    from vllm.multimodal.processing import ProcessorInputs, TimingContext

    from sfllava_plugin.checkpoints.video_config import VideoConfig

    model_config, model = tiny.engine.llm_engine.model_config, model_of(tiny)
    config, before = model_config.hf_config, model_config.hf_config.sfllava
    config.sfllava = before | {"pathways": str(pathway)}
    try:
        video_config = model.video_config
        model.video_config = VideoConfig.read(config, model_config.model)
        processor = MULTIMODAL_REGISTRY.create_processor(model_config)
        videos = [np.full((count, 48, 48, 3), count, np.uint8) for count in frames]
        data = processor.info.parse_mm_data({"video": videos}, validate=False)
        prompt = [1, *[config.image_token_index] * len(videos), 2]
        applied = processor.apply(ProcessorInputs(prompt, data), TimingContext(enabled=False))
        embeddings = model.embed_multimodal(video_frames=[torch.from_numpy(video) for video in videos])
    except PathwayError:
        assume(False)
    finally:
        config.sfllava, model.video_config = before, video_config
    placeholders = [place.length for place in applied["mm_placeholders"]["video"]]
    assert placeholders == [len(tokens) for tokens in embeddings]
    assert len(applied["prompt_token_ids"]) == 2 + sum(placeholders)


# -- notations ----------------------------------------------------------------------------------


@given(pathway=every_pathway)
def test_a_pathway_survives_its_notation(pathway):
    assert parse(str(pathway)) == pathway


@given(
    value=st.from_regex(r"slowfast-slow_\d+frms_\w*-fast_\d*x\d*", fullmatch=True)
    | st.from_regex(r"interleaved_\d*_?\w*", fullmatch=True)
    | anything
)
@example("interleaved_" + "9" * 5000)
@example("slowfast-slow_" + "9" * 5000 + "frms_concat-fast_4x4")
@settings(max_examples=300)
def test_every_value_is_a_notation_or_an_error(value):
    try:
        found = parse(value)
    except PathwayError as error:
        assert str(error)
    else:
        assert parse(str(found)) == found


# -- files of questions -------------------------------------------------------------------------


class Lines(io.StringIO):
    name = "questions.jsonl"


rows = st.fixed_dictionaries(
    {"id": st.text() | st.integers(), "video": st.text(min_size=1), "question": st.text()},
    optional={"options": st.lists(st.text(), max_size=26), "max_tokens": st.none() | st.integers(1, 10**9)},
)


def read(text):
    return read_rows(Lines(text), Path("/videos"))


@given(asked=st.lists(rows, max_size=6, unique_by=lambda row: (type(row["id"]), row["id"])))
@settings(max_examples=200)
def test_every_question_is_read_as_written(asked):
    assume(len({row["id"] for row in asked}) == len(asked))
    found = read("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in asked))
    assert [(row.id, row.question, list(row.options)) for row in found] == [
        (row["id"], row["question"], row.get("options", [])) for row in asked
    ]


lines = st.text() | anything.map(json.dumps) | rows.map(json.dumps) | st.just("[" * 5000)


@given(text=st.lists(lines, max_size=5).map("\n".join))
@settings(max_examples=300)
def test_a_malformed_line_is_named(text):
    try:
        found = read(text)
    except BatchError as error:
        assert "questions.jsonl, line " in str(error)
        assert "\n" not in str(error)
    else:
        assert all(isinstance(row, Row) for row in found)


@pytest.fixture
def folder(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("properties")


@given(
    whole=st.lists(st.tuples(st.integers(0, 5), st.text()), max_size=8),
    junk=st.binary(max_size=60),
    cut=st.integers(0, 40),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_batch_continues_from_whatever_a_crash_leaves(folder, whole, junk, cut):
    """In the end every question is answered once, in order.

    OUT.part holds whole lines, then anything.
    """
    place = folder()
    asked = [Row(id=number, video="v", question="?") for number in range(6)]
    keys = keys_of(asked, {})
    lines = [dump({"key": str(keys[number]), "answer": {"id": number, "text": text}}) + "\n" for number, text in whole]
    kept = "".join(lines).encode()
    left = kept[: len(kept) - cut] if cut < len(kept) else b""
    (place / "out.part").write_bytes(left + junk)
    try:
        with Results(place / "out", asked, keys) as results:
            for row in results.missing():
                results.add({"id": row.id, "text": "new"})
            results.finish()
    except BatchError:
        # Without one whole line, the file may not be ours.
        assert b"\n" not in left
        assert (place / "out.part").read_bytes() == left + junk
        return
    found = [json.loads(line) for line in (place / "out").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in found] == list(range(6))
    assert sorted(path.name for path in place.iterdir()) == ["out", "out.keys"]


@given(junk=st.binary(max_size=200))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_journal_continues_from_whatever_a_crash_leaves(folder, junk):
    place = folder()
    journal = Journal(place, {"a": "run"})
    journal.add("before", {"text": "a"})
    journal.close()
    [file] = place.glob("*/0.jsonl")
    with file.open("ab") as opened:
        opened.write(junk)
    journal = Journal(place, {"a": "run"})
    journal.add("after", {"text": "b"})
    journal.close()
    again = Journal(place, {"a": "run"})
    assert again.get("before") == {"text": "a"}
    assert again.get("after") == {"text": "b"}


# -- registries ---------------------------------------------------------------------------------

keys = st.sampled_from([*registry.Entry.model_fields, "unknown"])
entries = st.dictionaries(st.text(max_size=8), st.dictionaries(keys, anything, max_size=6) | anything, max_size=3)
documents = st.fixed_dictionaries({}, optional={"models": entries | anything, "limits": anything})


@given(text=st.text() | documents.map(yaml.safe_dump) | anything.map(yaml.safe_dump) | st.binary())
@example("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nmodels: {m: {checkpoint: o/n, engine: {e: *c}}}")
@example("models: &m {m: *m}")
@example("models: {m: {checkpoint: o/n, engine: &e {e: *e}}}")
@example("models: {m: {<<: 5}}")
@example("models: {? {a: b} : {checkpoint: o/n}}")
@example("models:\n  ? 'a\n\n    b'\n  : {}")
@example("models:\n  ? 'a\n\n    b'\n  : 0:")
@example("models:\n  ? 'a\n\n    b'")
@example("models: {m: {checkpoint: o/n, aliases: ['a\n\n  b']}}")
@example("models: {m: {checkpoint: !a%0Ab o/n}}")
@example('models: {m: {checkpoint: o/n, engine: {? !!binary Cg== : 1, ? !!python/tuple ["a\\nb"] : 1}}}')
@example('limits: {"a\\nb": 1}')
@example("!!python/object/apply:os.system [true]")
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_registry_is_read_or_refused_in_one_line(folder, text):
    path = folder() / "own.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFLLAVA_REGISTRY", str(path))
        try:
            found = registry.load()
        except RegistryError as error:
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
        else:
            assert found.get("sf-llava")
            assert all(entry.frames is None or math.isfinite(entry.frames) for entry in found)
