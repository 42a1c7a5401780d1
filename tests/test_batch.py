"""Files of questions and answers, without an engine: what is read, what is kept, what is written."""

import io
import json
from pathlib import Path

import pytest

from sfllava_plugin.batch import BatchError, InOrder, Results, Row, read_rows

ROWS = [Row(id=name, video="v.mp4", question="?") for name in ("a", "b", "c")]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read(*rows: str) -> list[Row]:
    file = io.StringIO("\n".join(rows) + "\n")
    file.name = "questions.jsonl"
    return read_rows(file, Path("/videos"))


def answer(name: str, text: str = "x") -> dict:
    return {"id": name, "text": text}


def test_rows_are_read_with_videos_relative_to_their_file():
    [one, two] = read(
        '{"id": 1, "video": "a.mp4", "question": "q"}', "", '{"id": 2, "video": "/b.mp4", "question": "q"}'
    )
    assert (one.video, two.video) == ("/videos/a.mp4", "/b.mp4")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "line 2"),
        ("[]", "line 2"),
        ('{"video": "v", "question": "q"}', "line 2: the key 'id' is missing"),
        ('{"id": 2, "question": "q"}', "line 2: the key 'video' is missing"),
        ('{"id": 2, "video": "v", "question": "q", "option": []}', "unknown key 'option': use one of id, video"),
        ('{"id": 2, "video": "v", "question": "q", "max_tokens": 0}', "line 2: max_tokens"),
        ('{"id": 1, "video": "v", "question": "q"}', "line 2: the id 1 is in line 1 already"),
    ],
)
def test_a_line_that_is_no_question_is_named(row, words):
    with pytest.raises(BatchError) as error:
        read('{"id": 1, "video": "v", "question": "q"}', row)
    assert words in str(error.value)
    assert str(error.value).startswith("questions.jsonl, line 2")


def test_answers_end_up_in_the_order_of_the_questions(tmp_path):
    out = tmp_path / "new" / "out.jsonl"
    with Results(out, ROWS) as results:
        for name in "cab":
            results.add(answer(name))
        results.finish()
    assert [row["id"] for row in lines(out)] == ["a", "b", "c"]
    assert list(out.parent.iterdir()) == [out]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "out.jsonl"
    with Results(out, ROWS) as results:
        results.add(answer("b", "kept"))
    with Results(out, ROWS) as results:
        assert [row.id for row in results.missing()] == ["a", "c"]
        results.add(answer("a"))
        results.add(answer("c"))
        results.finish()
    assert [row["text"] for row in lines(out)] == ["x", "kept", "x"]


@pytest.mark.parametrize("torn", [b'{"id": "c", "te', b'{"id": "c", "text": "\xc3', b"\x00\x00\x00\n", b"{}\n"])
def test_a_torn_last_line_is_repaired(tmp_path, torn):
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    part.write_bytes(b'{"id": "b", "text": "kept"}\n' + torn)
    with Results(out, ROWS) as results:
        assert [row.id for row in results.missing()] == ["a", "c"]
        results.add(answer("c"))
        results.add(answer("a"))
        results.finish()
    assert [row["id"] for row in lines(out)] == ["a", "b", "c"]


def test_a_finished_file_is_not_asked_again_but_failures_are(tmp_path):
    out = tmp_path / "out.jsonl"
    with Results(out, ROWS) as results:
        for row in (answer("a", "kept"), {"id": "b", "error": "no such file"}, answer("c")):
            results.add(row)
        assert results.failed == {"b"}
        results.finish()
    with Results(out, [*ROWS, Row(id="d", video="v", question="?")]) as results:
        assert [row.id for row in results.missing()] == ["b", "d"]
        results.add(answer("b", "now"))
        results.add(answer("d"))
        assert not results.failed
        results.finish()
    assert [row["text"] for row in lines(out)] == ["kept", "now", "x", "x"]


def test_answers_to_questions_no_longer_asked_are_left_out(tmp_path):
    out = tmp_path / "out.jsonl"
    with Results(out, ROWS) as results:
        for name in "abc":
            results.add(answer(name))
        results.finish()
    with Results(out, ROWS[:1]) as results:
        assert not results.missing()
        results.finish()
    assert [row["id"] for row in lines(out)] == ["a"]


def test_a_stream_is_written_in_order_as_soon_as_it_can_be():
    out = io.StringIO()
    stream = InOrder(out, ROWS)
    stream.add(answer("b"))
    assert out.getvalue() == ""
    stream.add(answer("a"))
    assert [json.loads(line)["id"] for line in out.getvalue().splitlines()] == ["a", "b"]
    stream.add({"id": "c", "error": "x"})
    assert stream.failed == {"c"}
