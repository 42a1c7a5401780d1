"""Reading, pairing and comparing made-up result folders."""

import json
import random

import numpy as np
import pytest
from scipy import stats

from sfllava_plugin.evaluation.compare.comparison import compare
from sfllava_plugin.evaluation.compare.errors import FolderError, Unpaired
from sfllava_plugin.evaluation.compare.metrics import column_of
from sfllava_plugin.evaluation.compare.runs import read_methods
from tests.evaluation.compare.folders import row, rows, traced, write, write_trace


def read(*folders):
    return [method for folder in folders for method in read_methods(folder)]


@pytest.fixture
def answers():
    """Right and wrong of two methods on 300 questions of 60 videos."""
    rng = random.Random(0)
    return [rng.random() < 0.6 for _ in range(300)], [rng.random() < 0.5 for _ in range(300)]


@pytest.fixture
def pair(tmp_path, answers):
    first, second = answers
    return write(tmp_path / "first", {"quiz": rows(first)}), write(tmp_path / "second", {"quiz": rows(second)})


def test_a_difference_is_that_of_a_direct_count(pair, answers):
    first, second = answers
    [each] = compare(read(*pair)).comparisons
    difference = each.cells["second"].difference
    b = sum(there and not here for here, there in zip(first, second, strict=True))
    c = sum(here and not there for here, there in zip(first, second, strict=True))
    assert (difference.b, difference.c) == (b, c)
    assert difference.value == pytest.approx((b - c) / 3)
    assert each.cells["first"].value == pytest.approx(sum(first) / 3)
    assert difference.p == pytest.approx(stats.binomtest(b, b + c).pvalue)
    assert difference.p_holm == difference.p
    assert difference.low < difference.value < difference.high
    standard = np.std(np.subtract(second, first, dtype=float)) / np.sqrt(300) * 100
    assert difference.visible == pytest.approx(2.8 * standard, rel=0.03)
    assert not each.paired.by_video


def test_videos_of_a_trace_widen_the_interval(tmp_path):
    first = [float(doc_id // 10 % 2) for doc_id in range(400)]
    second = [float(doc_id // 10 % 3 == 0) for doc_id in range(400)]
    folders = [write(tmp_path / "first", {"quiz": rows(first)}), write(tmp_path / "second", {"quiz": rows(second)})]
    [alone] = compare(read(*folders)).comparisons
    write_trace(tmp_path / "first", "quiz", [traced(doc_id, f"{doc_id // 10}.mp4") for doc_id in range(400)])
    [grouped] = compare(read(*folders)).comparisons
    assert grouped.paired.by_video and grouped.videos == 40
    narrow, wide = (each.cells["second"].difference for each in (alone, grouped))
    assert narrow.value == wide.value
    assert wide.high - wide.low > 2.5 * (narrow.high - narrow.low)
    assert (narrow.p, wide.p_over_videos > narrow.p_over_videos) == (wide.p, True)


def test_questions_about_text_alone_are_not_about_one_video(tmp_path):
    folders = [write(tmp_path / name, {"quiz": rows([1, 0] * 20)}) for name in ("first", "second")]
    write_trace(tmp_path / "first", "quiz", [traced(doc_id, "") for doc_id in range(40)])
    [each] = compare(read(*folders)).comparisons
    assert (each.paired.by_video, each.videos) == (False, 40)


def test_a_trace_of_other_replies_does_not_count(tmp_path):
    folder = write(tmp_path / "first", {"quiz": rows([1, 0, 1])})
    write_trace(folder, "quiz", [traced(doc_id, "a.mp4", text="B) no", answer="B") for doc_id in range(3)])
    assert read(folder)[0].tasks["quiz"].trace is None
    write_trace(folder, "quiz", [traced(doc_id, "b.mp4") for doc_id in range(3)], date="20250101_000000")
    assert read(folder)[0].tasks["quiz"].trace.rows[0]["video"] == "b.mp4"


def test_the_traces_of_several_processes_are_one(tmp_path):
    folder = write(tmp_path / "first", {"quiz": rows([1, 0])})
    write_trace(folder, "quiz", [traced(0, "a.mp4")])
    [place] = folder.glob("*_sfllava")
    (place / "quiz.1.jsonl").write_text(json.dumps(traced(1, "b.mp4")))
    assert set(read(folder)[0].tasks["quiz"].trace.rows) == {0, 1}


def test_lines_may_have_any_order(tmp_path, pair, answers):
    shuffled = rows(answers[1])
    random.Random(1).shuffle(shuffled)
    write(tmp_path / "shuffled", {"quiz": shuffled})
    one, two = (compare(read(pair[0], other)).comparisons[0] for other in (pair[1], tmp_path / "shuffled"))
    assert one.cells["second"].difference == two.cells["shuffled"].difference


def test_a_method_against_itself(tmp_path, answers):
    for name in ("a", "b"):
        write(tmp_path / name, {"quiz": rows(answers[0])})
        write_trace(tmp_path / name, "quiz", [traced(doc_id, f"{doc_id // 5}.mp4") for doc_id in range(300)])
    [each] = compare(read(tmp_path / "a", tmp_path / "b")).comparisons
    difference = each.cells["b"].difference
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert (difference.p, difference.p_holm, difference.p_over_videos) == (1, 1, 1)
    assert (difference.b, difference.c, difference.visible, difference.differs) == (0, 0, None, False)


def test_missing_questions_are_left_out_on_both_sides(tmp_path, answers):
    first, second = answers
    write(tmp_path / "first", {"quiz": rows(first)[:-7]})
    write(tmp_path / "second", {"quiz": rows(second)[3:]})
    compared = compare(read(tmp_path / "first", tmp_path / "second"))
    [each] = compared.comparisons
    assert list(each.paired.doc_ids) == list(range(3, 293))
    assert each.cells["first"].value == pytest.approx(100 * sum(first[3:-7]) / 290)
    assert "quiz: 3 questions of first are left out: another method lacks them." in compared.notes
    assert "quiz: 7 questions of second are left out: another method lacks them." in compared.notes


@pytest.mark.parametrize("name", ["target", "input"])
def test_other_questions_are_an_error(tmp_path, name):
    write(tmp_path / "first", {"quiz": rows([1, 0, 1])})
    changed = rows([1, 0, 1])
    changed[1][name] = "something else"
    write(tmp_path / "second", {"quiz": changed})
    with pytest.raises(Unpaired, match=f"quiz: first and second .* the {name} of doc_id 1 is .* 'something else'"):
        compare(read(tmp_path / "first", tmp_path / "second"))


def test_no_common_question_is_an_error(tmp_path):
    write(tmp_path / "first", {"quiz": rows([1, 0, 1])[:1]})
    write(tmp_path / "second", {"quiz": rows([1, 0, 1])[1:]})
    with pytest.raises(Unpaired, match="quiz: first and second have no question in common"):
        compare(read(tmp_path / "first", tmp_path / "second"))


def test_a_repeated_question_is_an_error(tmp_path):
    folder = write(tmp_path / "first", {"quiz": [*rows([1, 0, 1]), row(2, 1.0)]})
    with pytest.raises(Unpaired, match=r"samples_quiz.jsonl: doc_id 2 is there more than once"):
        read_methods(folder)


def test_the_newest_complete_run_counts(tmp_path):
    folder = tmp_path / "first"
    write(folder, {"quiz": rows([1, 1, 1, 1])}, date="20260101_000000")
    write(folder, {"quiz": rows([0, 0, 0, 0])}, date="20260102_000000")
    write(folder, {"quiz": rows([1, 0])}, date="20260103_000000", effective=4)
    [method] = read_methods(folder)
    assert method.tasks["quiz"].date == "20260102_000000"
    write(tmp_path / "second", {"quiz": rows([1, 1, 0, 0])})
    compared = compare([method, *read_methods(tmp_path / "second")])
    assert compared.comparisons[0].cells["second"].difference.value == 50
    assert any("20260103_000000_samples_quiz.jsonl has 2 of 4 questions" in note for note in compared.notes)


def test_runs_with_other_arguments_are_other_methods(tmp_path):
    write(tmp_path / "out", {"quiz": rows([1, 1])}, date="20260101_000000", model_args="pretrained=a/b")
    write(tmp_path / "out", {"quiz": rows([1, 0])}, date="20260102_000000", model_args="pretrained=a/b,frames=4")
    labels = [method.label for method in read_methods(tmp_path / "out", "ours")]
    assert labels == ["ours (pretrained=a/b)", "ours (pretrained=a/b,frames=4)"]


def test_unfinished_runs_are_named(tmp_path):
    folder = write(tmp_path / "out", {"quiz": rows([1, 0, 1])})
    [samples], [results] = folder.rglob("*_samples_*"), folder.rglob("*_results.json")
    samples.write_text(samples.read_text()[:-10])
    with pytest.raises(Unpaired, match=r"no finished run: .*samples_quiz.jsonl has a damaged line"):
        read_methods(folder)
    samples.unlink()
    with pytest.raises(Unpaired, match=r"samples_quiz.jsonl is missing"):
        read_methods(folder)
    results.write_text(results.read_text()[:100])
    with pytest.raises(Unpaired, match="is not a whole results file"):
        read_methods(folder)
    results.unlink()
    with pytest.raises(FolderError, match=r"no \*_results.json"):
        read_methods(folder)
    with pytest.raises(FolderError, match="no such folder"):
        read_methods(tmp_path / "none")


def test_a_task_that_nobody_finished_is_named(tmp_path):
    for name in ("first", "second"):
        folder = write(tmp_path / name, {"quiz": rows([1, 0]), "long": rows([1, 0])})
        [samples] = folder.rglob("*_samples_long.jsonl")
        samples.write_text(samples.read_text().splitlines()[0] + "\n")
    compared = compare(read(tmp_path / "first", tmp_path / "second"))
    assert [each.task for each in compared.comparisons] == ["quiz"]
    assert [reason.partition(": 2026")[0] for reason in compared.not_comparable] == [
        "long: first has not finished it",
        "long: second has not finished it",
    ]


def test_a_foreign_models_folder_is_read_like_ours(tmp_path, pair):
    foreign = tmp_path / "foreign"
    write(foreign, {"quiz": rows([1] * 300)}, model="video_llava", model_args="pretrained=x/Video-LLaVA-7B-hf")
    methods = read(pair[0], foreign)
    assert (methods[1].model, methods[1].label) == ("video_llava", "foreign")
    run = methods[1].tasks["quiz"]
    assert (run.samples[0].input_tokens, run.seconds, run.has_loading) == (None, 0.1, True)
    assert compare(methods).comparisons[0].cells["foreign"].value == 100


def test_the_metrics_of_known_tasks_are_read():
    judged = [{"Correctness": "yes", "score": 4}, {"Correctness": "no", "score": 1}]
    known = {
        ("exact_match", True): [True, False],
        ("accuracy", True): [1.0, 0.0],
        ("gpt_eval_accuracy", True): judged,
        ("score", True): [{"pred": 3, "ground_truth": "3"}, {"pred": -1, "ground_truth": "2"}],
        ("videomme_perception_score", True): [{"pred_answer": "A", "answer": "A", "score": s} for s in (1.0, 0.0)],
        ("mvbench_accuracy", True): [{"pred_answer": "A", "gt_answer": "A", "score": s} for s in (1, 0)],
        ("mlvu_percetion_score", True): [{"pred_answer": "A", "answer": a} for a in "AB"],
    }
    for (metric, is_right), logged in known.items():
        column = column_of(metric, logged)
        assert (column.values.tolist(), column.is_right) == ([1.0, 0.0], is_right), metric
    scores = column_of("gpt_eval_score", judged)
    assert (scores.values.tolist(), scores.is_right) == ([4.0, 1.0], False)
    generic = column_of("gpt_eval_score_context", [{"Q": "q", "A": "a", "pred": "p", "score": s} for s in (1, 0)])
    assert (generic.values.tolist(), generic.is_right) == ([1.0, 0.0], False)
    for unknown in ({"WUPS": 1}, "yes", None, float("nan"), {"score": "4"}, [1.0]):
        assert column_of("accuracy", [1.0, unknown]) is None


def test_stock_tasks_log_the_forms_that_are_read(monkeypatch, tmp_path):
    """The tasks' own code, as installed."""
    pytest.importorskip("lmms_eval")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    from lmms_eval.tasks.egoschema.utils import egoschema_process_results_generation
    from lmms_eval.tasks.mlvu.utils import mlvu_process_results
    from lmms_eval.tasks.mvbench.utils import mvbench_process_results
    from lmms_eval.tasks.nextqa.utils import nextqa_mc_process_results

    options = {f"a{number}": f"word {number}" for number in range(5)}
    ego = {"video_idx": "v", "answer": "1", "option": [f"{letter}. word" for letter in "ABCDE"]}
    found = {
        nextqa_mc_process_results: ({"answer": 1, **options}, "exact_match"),
        egoschema_process_results_generation: (ego, "score"),
        mvbench_process_results: ({"candidates": ["x", "y"], "answer": "y"}, "mvbench_accuracy"),
        mlvu_process_results: ({"question": "?", "task_type": "ego", "answer": "B"}, "mlvu_percetion_score"),
    }
    for process, (doc, metric) in found.items():
        logged = [process(doc, [reply])[metric] for reply in ("B", "A")]
        column = column_of(metric, json.loads(json.dumps(logged)))
        assert (column.values.tolist(), column.is_right) == ([1.0, 0.0], True), process.__name__


def test_a_task_without_a_value_for_each_question_is_left_out(tmp_path, pair, answers):
    foreign = [row(doc_id, {"WUPS": 1}, metric="wups") for doc_id in range(3)]
    for name, right in zip(("first", "second"), answers, strict=True):
        write(tmp_path / name, {"quiz": rows(right), "odd": foreign})
    compared = compare(read(*pair))
    assert compared.not_comparable == ["odd: not comparable: no value of each question in wups"]
    assert [each.task for each in compared.comparisons] == ["quiz"]
    with pytest.raises(Unpaired, match="odd: not comparable"):
        compare(read(*pair), tasks=["odd"])


def test_a_metric_that_some_questions_lack_is_left_out(tmp_path):
    for name in ("first", "second"):
        found = rows([1, 0, 1])
        found[0]["colour"] = 1.0
        write(tmp_path / name, {"quiz": found})
    assert [each.metric for each in compare(read(tmp_path / "first", tmp_path / "second")).comparisons] == ["accuracy"]


def test_a_group_means_its_tasks(tmp_path):
    for name in ("first", "second"):
        tasks = {task: rows([1, 0]) for task in ("one", "two", "three")}
        write(tmp_path / name, tasks, groups={"all": ["inner", "three"], "inner": ["one", "two"]})
    methods = read(tmp_path / "first", tmp_path / "second")
    assert [each.task for each in compare(methods, tasks=["inner"]).comparisons] == ["one", "two"]
    assert [each.task for each in compare(methods, tasks=["all"]).comparisons] == ["one", "two", "three"]
    with pytest.raises(ValueError, match="no folder has the task 'four'"):
        compare(methods, tasks=["four"])


def test_all_differences_shown_are_corrected_together(tmp_path):
    rng = random.Random(2)
    for number in range(4):
        tasks = {task: rows([rng.random() < 0.4 + number / 10 for _ in range(100)]) for task in ("one", "two")}
        write(tmp_path / str(number), tasks)
    compared = compare(read(*(tmp_path / str(number) for number in range(4))), reference="2")
    differences = [cell.difference for each in compared.comparisons for cell in each.cells.values() if cell.difference]
    assert len(differences) == 6
    smallest = min(differences, key=lambda difference: difference.p)
    assert smallest.p_holm == pytest.approx(min(1, 6 * smallest.p))
    assert all(cells.cells["2"].difference is None for cells in compared.comparisons)


def test_lmms_evals_own_weighting_is_noted(tmp_path):
    for name in ("first", "second"):
        write(tmp_path / name, {"quiz": rows([1, 0])}, reported={"accuracy,none": 37.5})
    notes = compare(read(tmp_path / "first", tmp_path / "second")).notes
    assert any("lmms-eval's own accuracy of first is 37.5" in note for note in notes)
    for name in ("first", "second"):
        write(tmp_path / name, {"quiz": rows([1, 0])}, reported={"accuracy,none": 50.0})
    notes = compare(read(tmp_path / "first", tmp_path / "second")).notes
    assert not any("own accuracy" in note for note in notes)


def test_labels_and_references_are_checked(pair):
    with pytest.raises(ValueError, match="one method only"):
        compare(read(pair[0]))
    with pytest.raises(ValueError, match="two methods are called 'first'"):
        compare(read(pair[0], pair[0]))
    with pytest.raises(ValueError, match="unknown --reference 'third': use one of first, second"):
        compare(read(*pair), reference="third")
