"""The table, the JSON and the page of `sfllava compare`."""

import json
import re

import pytest

from tests.evaluation.compare.folders import row, rows, traced, write, write_trace


@pytest.fixture
def folders(tmp_path, bikes):
    """Two methods on 40 questions; the questions of the first ten are about a real video."""
    right = [doc_id % 4 > 0 for doc_id in range(40)]
    for name, values in (("ours", right), ("theirs", [not right[0], *right[1:]])):
        found = [row(doc_id, float(value), tokens=(100, 4)) for doc_id, value in enumerate(values)]
        found[-1]["filtered_resps"] = ""
        write(tmp_path / name, {"quiz": found}, more={"throughput": {"avg_latency": 0.25}})
    videos = [str(bikes) if doc_id < 10 else f"/none/{doc_id}.mp4" for doc_id in range(39)]
    write_trace(tmp_path / "ours", "quiz", [traced(doc_id, video) for doc_id, video in enumerate(videos)])
    return [tmp_path / "ours", tmp_path / "theirs"]


GOLDEN = """\
| method | quiz<br>accuracy, %, n = 40 | tokens in | tokens out | calls | s/question | no answer |
| --- | --- | --- | --- | --- | --- | --- |
| **ours** | 75.0 | 100 | 4.0 | 1 | 0.25 | 1 |
| theirs | 77.5 (+2.5, 0.0 to +5.2) | 100 | 4.0 | 1 | 0.25 | 1 |

- In brackets: difference to **ours**, and its 95 % interval (bootstrap over videos). \\* p < 0.05, \\*\\* p < 0.01, \
corrected after Holm for all differences shown; exact McNemar test for right and wrong, permutation over videos for \
scores.
- quiz, accuracy, theirs: 1 right where the reference is wrong, 0 the other way round; p = 1, corrected 1. With \
these 31 videos a difference below 5.0 points cannot be seen.
"""


def test_the_table_is_the_one_agreed_on(sfllava, folders):
    code, out, err = sfllava("compare", *folders)
    assert (code, err) == (0, "")
    assert out == GOLDEN


def test_no_difference_has_no_interval(sfllava, folders):
    _, out, _ = sfllava("compare", f"a={folders[0]}", f"b={folders[0]}")
    assert "| b | 75.0 (0.0) |" in out
    assert "- quiz, accuracy, b: all values are the same." in out


def test_labels_choose_the_names(sfllava, folders):
    _, out, _ = sfllava("compare", f"a b={folders[0]}", f"c={folders[1]}", "--reference", "c")
    assert "| a b | 75.0 (-2.5" in out
    assert "| **c** | 77.5 |" in out


def test_json_has_everything_unrounded(sfllava, folders, tmp_path):
    sfllava("compare", *folders, "--json", tmp_path / "out.json")
    content = json.loads((tmp_path / "out.json").read_text())
    [each] = content["comparisons"]
    assert each["doc_ids"] == list(range(40))
    assert sum(each["values"]["ours"]) == 30
    assert (each["videos"], each["clustered_by"], each["unit"]) == (31, "video", "percent")
    difference = each["methods"]["theirs"]["difference"]
    assert {**difference, "low": None, "high": None, "visible": None} == {
        "value": 2.5, "low": None, "high": None, "visible": None,
        "b": 1, "c": 0, "p": 1.0, "p_over_videos": 1.0, "p_holm": 1.0, "differs": True,
    }  # fmt: skip
    assert [method["label"] for method in content["methods"]] == ["ours", "theirs"]
    assert content["methods"][0]["tasks"]["quiz"]["has_trace"]
    assert content["published"]["measured_here"] is False


def page_data(path):
    text = path.read_text(encoding="utf-8")
    return text, json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_holds_each_question_with_its_answers(sfllava, folders, tmp_path, bikes):
    assert sfllava("compare", *folders, "--html", tmp_path / "out.html")[0] == 0
    text, data = page_data(tmp_path / "out.html")
    assert data["labels"] == ["ours", "theirs"]
    assert len(data["questions"]) == 40
    first = data["questions"][0]
    assert (first["input"], first["target"], first["disagree"]) == ("question 0", "A", True)
    assert [(each["label"], each["value"], each["prompt"]) for each in first["answers"]] == [
        ("ours", 0.0, 0),
        ("theirs", 1.0, None),
    ]
    assert [data["prompts"][row["answers"][0]["prompt"]] for row in data["questions"][:39]] == [
        f"prompt {number}" for number in range(39)
    ]
    assert [row["id"] for row in data["questions"] if row["disagree"]] == [0]
    frames = data["frames"][str(bikes)]
    assert len(frames) == 8
    assert all(frame.startswith("data:image/jpeg;base64,") for frame in frames)
    assert len("".join(frames)) < 80_000
    # Nothing comes from elsewhere.
    assert not re.search(r'(src|href)="?(https?:)?//', text)
    assert "default-src 'none'" in text


def test_frames_are_only_those_asked_for(sfllava, folders, tmp_path):
    sfllava("compare", *folders, "--html", tmp_path / "out.html", "--frames-of", "0")
    assert page_data(tmp_path / "out.html")[1]["frames"] == {}


def test_the_page_keeps_markup_in_answers_as_text(sfllava, tmp_path):
    evil = "</script><script>alert(1)</script>"
    for name in ("ours", "theirs"):
        write(tmp_path / name, {"quiz": [row(0, 1.0, reply=evil, text=evil), row(1, 0.0)]})
    sfllava("compare", f"<b>={tmp_path / 'ours'}", tmp_path / "theirs", "--html", tmp_path / "out.html")
    text, data = page_data(tmp_path / "out.html")
    assert data["questions"][0]["input"] == evil
    assert evil not in text
    assert "<b>" not in text.replace("<b></b>", "")


def test_published_rows_are_marked_in_the_table_and_on_the_page(sfllava, tmp_path):
    for name in ("ours", "theirs"):
        write(tmp_path / name, {"egoschema_subset": rows([1, 0] * 20, metric="score")})
    _, out, _ = sfllava("compare", tmp_path / "ours", tmp_path / "theirs", "--html", tmp_path / "out.html")
    assert "| SF-LLaVA 7B (published, not measured here) | 47.2 | - | - | - | - | - |" in out
    assert "- SF-LLaVA 7B: arXiv 2407.15841; egoschema_subset: subset of the test." in out
    assert "- SF-LLaVA 7B: arXiv 2602.03615; egoschema_subset: subset of the test; rerun by KTV." in out
    assert "Not the same as published: egoschema_subset: 40 questions here, 500 in the published figures." in out
    text = (tmp_path / "out.html").read_text()
    assert text.count("published, not measured here") == out.count("published, not measured here")
    _, out, _ = sfllava("compare", tmp_path / "ours", tmp_path / "theirs", "--published", "none")
    assert "published" not in out


def test_what_cannot_be_compared_is_said_and_gives_exit_code_1(sfllava, tmp_path):
    odd = [row(doc_id, {"WUPS": 1}, metric="wups") for doc_id in range(3)]
    for name in ("ours", "theirs"):
        write(tmp_path / name, {"quiz": rows([1, 0]), "odd": odd})
    write(tmp_path / "ours", {"alone": rows([1, 0])}, date="20260101_000001")
    code, out, err = sfllava("compare", tmp_path / "ours", tmp_path / "theirs")
    assert code == 1
    assert sorted(err.splitlines()) == [
        "sfllava: alone: theirs lacks it",
        "sfllava: odd: not comparable: no value of each question in wups",
    ]
    assert "- Left out: odd: not comparable" in out
    assert "| theirs | 50.0 (0.0) |" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{ours}", "{tmp}/none"], 2, "no such folder"),
        (["{ours}", "{tmp}/empty"], 2, "no *_results.json of lmms-eval in it"),
        (["{ours}"], 2, "there is one method only"),
        (["{ours}", "{theirs}", "-t", "nothing"], 2, "no folder has the task 'nothing': they have quiz"),
        (["{ours}", "{theirs}", "--published", "13b"], 2, "unknown --published '13b'"),
        (["{ours}", "{torn}"], 1, "no finished run"),
        (["{ours}", "{doubled}"], 1, "doc_id 1 is there more than once"),
        (
            ["{ours}", "{other}"],
            1,
            "ours and other have nothing in common that can be compared: quiz: other lacks it",
        ),
        (["{ours}", "{theirs}", "--json", "{tmp}/none/out.json"], 2, "out.json"),
    ],
)
def test_an_error_is_one_line(sfllava, tmp_path, arguments, code, message):
    for name in ("ours", "theirs"):
        write(tmp_path / name, {"quiz": rows([1, 0])})
    write(tmp_path / "torn", {"quiz": rows([1, 0])}, effective=3)
    write(tmp_path / "doubled", {"quiz": [*rows([1, 0]), row(1, 1.0)]})
    write(tmp_path / "other", {"another": rows([1, 0])})
    (tmp_path / "empty").mkdir()
    places = {name: tmp_path / name for name in ("ours", "theirs", "torn", "doubled", "other")} | {"tmp": tmp_path}
    found, _, err = sfllava("compare", *(argument.format(**places) for argument in arguments))
    assert found == code
    assert err.startswith("sfllava: ")
    assert err.count("\n") == 1
    assert message in err
