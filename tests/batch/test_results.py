"""The file of answers: kept answers, repeated questions, refused files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sfllava_plugin.batch.files import BatchError, Row
from sfllava_plugin.batch.results import Results, keys_of
from sfllava_plugin.provenance import describe_model

#: Everything that the answers of a run depend on.
RUN = {"model": {"config.json": "1"}, "engine": {}}


@pytest.fixture
def asked(tmp_path):
    """Three questions on a video."""
    video = tmp_path / "v.mp4"
    video.write_bytes(b"video")
    return [Row(id=name, video=str(video), question="?") for name in ("a", "b", "c")]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "out.jsonl"


def results(out, rows, run=RUN, **more):
    return Results(out, rows, keys_of(rows, run), **more)


def answer(name: str, text: str = "x") -> dict:
    return {"id": name, "text": text}


def run(out, rows, answers="", of=RUN, text="x", **more) -> list:
    """Finish a run, answering in the given order; return the missing ids."""
    with results(out, rows, of, **more) as kept:
        missing = [row.id for row in kept.missing()]
        for name in answers or missing:
            kept.add(answer(name, text))
        kept.finish()
    return missing


def interrupt(out, rows, answers, of=RUN, text="x"):
    with results(out, rows, of) as kept:
        for name in answers:
            kept.add(answer(name, text))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts(path: Path) -> list[str]:
    return [row["text"] for row in lines(path)]


def changed(rows, number, **fields):
    return [row.model_copy(update=fields) if place == number else row for place, row in enumerate(rows)]


def test_answers_end_up_in_the_order_of_the_questions(out, asked):
    assert run(out, asked, "cab") == ["a", "b", "c"]
    assert lines(out) == [answer("a"), answer("b"), answer("c")]
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.jsonl", "out.jsonl.keys"]


def test_an_interrupted_run_continues(out, asked):
    interrupt(out, asked, "b", text="kept")
    assert run(out, asked) == ["a", "c"]
    assert texts(out) == ["x", "kept", "x"]


def test_every_answer_is_on_disk_before_the_next(out, asked, tmp_path):
    """A process that exits without any clean-up loses nothing."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from sfllava_plugin.batch.files import Row\n"
        "from sfllava_plugin.batch.results import Results, keys_of\n"
        "rows = [Row(id=name, video='v', question='?') for name in 'abc']\n"
        "kept = Results(Path(sys.argv[1]), rows, keys_of(rows, {})).__enter__()\n"
        "kept.add({'id': 'b', 'text': 'x'})\n"
        "kept.add({'id': 'c', 'text': 'y'})\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(out)]).returncode == 9
    assert [row["answer"]["text"] for row in lines(Path(f"{out}.part"))] == ["x", "y"]


def test_an_output_has_one_writer(out, asked):
    with results(out, asked) as first:
        with pytest.raises(BatchError, match=r"out\.jsonl\.part: another process is writing it"), results(out, asked):
            pass
        first.add(answer("a"))
    assert run(out, asked) == ["b", "c"]


@pytest.mark.parametrize(
    "torn", [b'{"key": "x.y", "ans', b'{"key": "x.y", "answer": {"id": "c", "text": "\xc3', b"\x00\x00\x00\n", b"{}\n"]
)
def test_a_torn_last_line_is_repaired(out, asked, torn):
    interrupt(out, asked, "b", text="kept")
    with Path(f"{out}.part").open("ab") as part:
        part.write(torn)
    assert run(out, asked, "ca") == ["a", "c"]
    assert texts(out) == ["x", "kept", "x"]


def test_a_torn_line_does_not_affect_later_answers(out, asked):
    interrupt(out, asked, "b")
    with Path(f"{out}.part").open("ab") as part:
        part.write(b'{"key": "x.y", "answer": {"id": "c", "te')
    interrupt(out, asked, "c")
    assert run(out, asked) == ["a"]


@pytest.mark.parametrize("torn", [b'{"k', b'{"key": "x.y", "answer"', b"\x00\x00\x00\n"])
def test_a_torn_first_line_is_repaired(out, asked, torn):
    out.parent.mkdir()
    Path(f"{out}.part").write_bytes(torn)
    assert run(out, asked) == ["a", "b", "c"]


def test_only_failures_in_a_finished_file_are_asked_again(out, asked):
    with results(out, asked) as kept:
        for row in (answer("a", "kept"), {"id": "b", "error": "no such file"}, answer("c", "kept")):
            kept.add(row)
        assert kept.failed == {"b"}
        kept.finish()
    more = [*asked, asked[0].model_copy(update={"id": "d"})]
    assert run(out, more) == ["b", "d"]
    assert texts(out) == ["kept", "x", "kept", "x"]


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    "fields",
    [
        {"question": "Is it? " + "x" * 5000},
        {"options": ("a cat", "a dog")},
        {"max_tokens": 3},
        {"video": "/other/v.mp4"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_changed_question_is_asked_again(out, asked, fields, finished):
    before = changed(asked, 1, question="Is it? " + "x" * 4999 + "y")
    run(out, before, text="kept") if finished else interrupt(out, before, "abc", text="kept")
    after = changed(before, 1, **fields)
    with results(out, after) as kept:
        assert kept.outdated == {"b"}
    assert run(out, after) == ["b"]
    assert texts(out) == ["kept", "x", "kept"]
    assert run(out, after) == []


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("of", [{"model": {"config.json": "2"}, "engine": {}}, RUN | {"engine": {"dtype": "float16"}}])
def test_another_model_is_asked_everything_again(out, asked, of, finished):
    run(out, asked) if finished else interrupt(out, asked, "abc")
    with results(out, asked, of) as kept:
        assert kept.outdated == {"a", "b", "c"}
    assert run(out, asked, of=of, text="of the other") == ["a", "b", "c"]
    assert texts(out) == ["of the other"] * 3


def test_going_back_to_the_first_model_finds_its_answers(out, asked):
    """No answer is lost until a run is finished."""
    other = RUN | {"engine": {"dtype": "float16"}}
    interrupt(out, asked, "ab", text="first")
    interrupt(out, asked, "a", of=other, text="second")
    with results(out, asked) as kept:
        assert kept.outdated == set()
    assert run(out, asked) == ["c"]
    assert texts(out) == ["first", "first", "x"]


def test_questions_on_a_changed_video_are_asked_again_but_not_on_a_deleted_one(out, asked):
    run(out, asked, text="kept")
    video = Path(asked[0].video)
    video.write_bytes(b"another")
    assert run(out, asked, text="new") == ["a", "b", "c"]
    video.unlink()
    assert run(out, asked) == []
    assert texts(out) == ["new"] * 3


def test_a_changed_image_changes_its_folder(out, tmp_path):
    (tmp_path / "images").mkdir()
    image = tmp_path / "images" / "1.jpg"
    image.write_bytes(b"image")
    asked = [Row(id=1, video=str(image.parent), question="?")]
    run(out, asked)
    assert run(out, asked) == []
    os.utime(image, ns=(0, 0))
    assert run(out, asked) == [1]


@pytest.mark.parametrize("finished", [True, False])
def test_answers_to_other_questions_are_dropped_only_with_overwrite(out, asked, finished):
    run(out, asked) if finished else interrupt(out, asked, "abc")
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    with pytest.raises(BatchError, match=r"has 2 answers to questions .* such as 'b'; .*--overwrite"):
        run(out, asked[:1])
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before
    assert run(out, asked[:1], overwrite=True) == []
    assert lines(out) == [answer("a")]


def test_answers_of_unknown_origin_are_replaced_only_with_overwrite(out, asked):
    run(out, asked)
    Path(f"{out}.keys").unlink()
    before = out.read_bytes()
    with pytest.raises(
        BatchError,
        match=r"answers are unknown.*move it away, or ask again with --overwrite",
    ):
        run(out, asked)
    assert [path.read_bytes() for path in out.parent.iterdir()] == [before]
    assert run(out, asked, overwrite=True) == ["a", "b", "c"]


def test_files_of_other_programs_are_refused(out, asked):
    out.parent.mkdir()
    for path in (out, Path(f"{out}.part")):
        path.write_bytes(b"somebody's notes\n")
        with pytest.raises(BatchError, match="move it away"):
            run(out, asked)
        assert path.read_bytes() == b"somebody's notes\n"
        path.unlink()


def test_a_crash_between_the_two_files_loses_nothing(out, asked):
    """OUT is written, OUT.keys is not, and OUT.part still exists."""
    interrupt(out, asked, "abc", text="kept")
    out.write_text("".join(json.dumps(answer(name, "kept")) + "\n" for name in "abc"))
    assert run(out, asked) == []
    assert texts(out) == ["kept"] * 3


def test_a_finished_job_loads_no_torch(out, asked):
    """With another engine argument it asks again."""
    questions = out.parent.parent / "questions.jsonl"
    questions.write_text("".join(row.model_dump_json() + "\n" for row in asked))
    run(out, asked, of=describe_model("sf-llava-tiny", {}), text="kept")
    program = (
        "import sys\n"
        "from sfllava_plugin import cli\n"
        "def refuse(): raise ValueError('an engine would start')\n"
        "cli.require_vllm = refuse\n"
        "try: cli.main()\n"
        "finally: print('torch' in sys.modules, 'vllm' in sys.modules)\n"
    )
    call = [sys.executable, "-c", program, "batch", questions, "-o", out, "--model", "sf-llava-tiny"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False False\n"), done.stderr
    assert texts(out) == ["kept"] * 3
    again = subprocess.run([*call, "--engine-args", '{"dtype": "float16"}'], capture_output=True, text=True)
    assert again.returncode == 2
    assert f"{out}: 3 answers are from another model, question or video; asking again" in again.stderr
    assert "an engine would start" in again.stderr


def test_no_empty_file_is_left_behind(out, asked):
    with results(out, asked):
        pass
    assert list(out.parent.iterdir()) == []
