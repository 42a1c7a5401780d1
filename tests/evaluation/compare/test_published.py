"""published.yaml against the figures as the papers print them, and beside our own."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

import sfllava_plugin
from sfllava_plugin.evaluation.compare.beside import beside
from sfllava_plugin.evaluation.compare.comparison import compare
from sfllava_plugin.evaluation.compare.published import Published, load
from sfllava_plugin.evaluation.compare.runs import read_methods
from tests.evaluation.compare.folders import row, rows, traced, write, write_trace

TASKS = Path(sfllava_plugin.__file__).parent / "evaluation/tasks"
FILE = Path(sfllava_plugin.__file__).parent / "evaluation/compare/published.yaml"

#: NExT-QA, EgoSchema, IntentQA; MSVD, MSRVTT, TGIF, ActivityNet; VCGBench.
BENCHMARKS = ("nextqa", "egoschema", "intentqa", "msvd", "msrvtt", "tgif", "activitynet", "vcgbench")
TABLE = """
SF-LLaVA 7b | 64.2 | 47.2 | 60.1 | 79.1/4.1 | 65.8/3.6 | 78.7/4.2 | 55.5/3.4 | 3.09 2.70 3.57 2.52 3.35 3.04
SF-LLaVA 34b | 72.0 | 55.8 | 66.5 | 79.9/4.1 | 67.4/3.7 | 80.6/4.3 | 59.2/3.5 | 3.48 2.96 3.84 2.77 3.57 3.32
SF-LLaVA 7b rerun | 64.0 | 44.2 | 60.5 | | | | |
SF-LLaVA 34b rerun | 70.9 | 55.0 | 66.1 | | | | |
IG-VLM 7b | 63.1 | 35.8 | 60.3 | 78.8/4.1 | 63.7/3.5 | 73.0/4.0 | 54.3/3.4 | 3.11 2.78 3.51 2.44 3.29 3.03
IG-VLM 34b | 70.9 | 53.6 | 65.3 | 79.6/4.1 | 62.4/3.5 | 79.1/4.2 | 58.4/3.5 |
IG-VLM 34b suspect | | | | | | | | 3.11 2.78 3.51 2.44 3.29 3.03
TS-LLaVA 7b | 66.5 | 50.2 | 61.7 | 79.0/4.1 | 65.1/3.6 | 77.7/4.1 | 56.7/3.4 |
DyTo 7b | 65.7 | 48.6 | 61.6 | 77.6/3.9 | 64.1/3.4 | 78.0/4.0 | 54.3/3.2 | 3.16
DyTo 34b | 72.9 | 56.8 | 67.5 | 79.6/4.1 | 66.2/3.6 | 80.7/4.2 | 59.0/3.5 | 3.32
DyTo 34b first | | | 66.4 | | | | |
D-CoDe 7b | 68.3 | 58.0 | 64.2 | 80.0/4.1 | 64.2/3.5 | 79.1/4.1 | 56.4/3.4 |
KTV (504 tokens) 7b | 64.5 | 49.6 | 61.2 | | | | |
KTV (936 tokens) 7b | 65.1 | 50.4 | 61.3 | | | | |
KTV (1872 tokens) 7b | 65.8 | 51.0 | 62.0 | | | | |
KTV (504 tokens) 34b | 71.2 | 55.6 | 65.9 | | | | |
KTV (936 tokens) 34b | 72.3 | 55.6 | 66.6 | | | | |
KTV (1872 tokens) 34b | 72.7 | 57.0 | 68.0 | | | | |
LLaVA-NeXT-Image 7b | | | | | | | 53.8/3.2 | 3.05 3.12 3.68 2.37 3.16 3.07
LLaVA-NeXT-Image 34b | | | | | | | 55.6/3.3 | 3.29 3.23 3.83 2.51 3.47 3.27
LLaVA-NeXT-Video 7b | | | | | | | 53.5/3.2 | 3.39 3.29 3.92 2.60 3.12 3.26
LLaVA-NeXT-Video 34b | | | | | | | 58.8/3.4 | 3.48 3.37 3.95 2.64 3.28 3.34
LLaVA-NeXT-Video-DPO 7b | | | | | | | 60.2/3.5 | 3.64 3.45 4.17 2.95 4.08 3.66
LLaVA-NeXT-Video-DPO 34b | | | | | | | 64.4/3.6 | 3.81 3.55 4.24 3.14 4.12 3.77
FreeVA 7b | | | | 73.8/4.1 | 60.0/3.5 | | 51.2/3.5 |
PLLaVA 7b | | | | 76.6/4.1 | 62.0/3.5 | 77.5/4.1 | 56.3/3.5 |
PLLaVA 34b | | | | 79.9/4.2 | 68.7/3.8 | 80.6/4.3 | 60.9/3.7 |
Video-LLaVA 7b | 60.5 | 37.0 | | 70.7/3.9 | 59.2/3.5 | 70.0/4.0 | 45.3/3.3 |
LLoVi api | 67.7 | 50.3 | 64.0 | | | | |
VideoTree api | 75.6 | 66.2 | 66.9 | | | | |
VideoTree api full | | 61.1 | | | | | |
VideoTree api quoted | 73.5 | | | | | | |
VideoAgent api | 71.3 | 60.2 | | | | | |
"""


def printed():
    """(system, size, benchmark, value) of every figure in the table."""
    found = []
    for line in TABLE.strip().splitlines():
        name, *cells = (part.strip() for part in line.split("|"))
        words = name.split()
        place = next(number for number, word in enumerate(words) if word in ("7b", "34b", "api"))
        for benchmark, cell in zip(BENCHMARKS, cells, strict=True):
            values = [float(part) for part in cell.replace("/", " ").split()]
            found += [(" ".join(words[:place]), words[place], benchmark, value) for value in values]
    return found


def test_every_figure_is_there_and_no_other():
    figures = [(each.system, each.size, each.benchmark, each.value) for each in load().figures()]
    assert sorted(figures) == sorted(printed())


def test_every_row_has_all_fields():
    for figure in load().figures():
        fields = figure.model_dump()
        assert set(fields) == {
            "system", "size", "benchmark", "task", "metric", "value", "source", "split", "judge", "note"
        }  # fmt: skip
        assert all(fields[name] for name in fields if name != "note")
        assert (figure.judge == "none") == (not load().benchmarks[figure.benchmark].judged)
        is_score = figure.metric.startswith("gpt_eval_score") or figure.metric == "mean"
        assert 0 < figure.value <= (5 if is_score else 100)


@pytest.mark.skipif(not (TASKS / "paper/nextqa_mc_val.yaml").exists(), reason="needs the validation splits")
def test_every_task_and_metric_exists():
    stock = Path(pytest.importorskip("lmms_eval").__file__).parent / "tasks"
    wanted = {(figure.task, figure.metric) for figure in load().figures() if figure.metric != "mean"}
    found = set()
    for folder in (TASKS, *(stock / name for name in ("nextqa", "egoschema", "activitynetqa", "videochatgpt"))):
        for path in folder.rglob("*.yaml"):
            text = path.read_text(encoding="utf-8")
            included = re.search(r"^include: *(\S+)", text, re.MULTILINE)
            text += (path.parent / included[1]).read_text(encoding="utf-8") if included else ""
            if task := re.search(r'^task: *"?(\w+)"?', text, re.MULTILINE):
                found |= {(task[1], metric) for metric in re.findall(r"metric: *(\w+)", text)}
    assert wanted <= found
    groups = [path.read_text(encoding="utf-8") for path in TASKS.rglob("*.yaml")]
    assert any("group: sfllava_vcgbench" in text for text in groups)
    others = {task for benchmark in load().benchmarks.values() for task in benchmark.other_tasks}
    assert others <= {task for task, _ in found}


def test_doubtful_figures_are_marked():
    notes = [figure.note for figure in load().figures()]
    assert {"rerun by KTV", "as quoted by SF-LLaVA; suspect, it equals the row of the 7B"} <= set(notes)
    assert any("as quoted by SF-LLaVA" in note and "75.6" in note for note in notes)


def test_means_of_vcgbench_are_those_of_their_parts():
    for system in load().systems:
        parts = system.figures.get("vcgbench")
        if parts and None not in parts:
            assert sum(parts[:5]) / 5 == pytest.approx(parts[5], abs=0.011), system.system


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["systems"][0].pop("source"), "source"),
        (lambda content: content["systems"][0].update(spilt="test"), "spilt"),
        (lambda content: content["systems"][0].pop("judge"), "msvd needs a judge"),
        (lambda content: content["systems"][0]["figures"].update(nextqua=1.0), "unknown benchmark 'nextqua'"),
        (lambda content: content["systems"][0]["figures"].update(msvd=79.1), "msvd needs 2 figures"),
    ],
)
def test_a_faulty_file_is_refused(change, message):
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    change(content)
    with pytest.raises(ValidationError, match=message):
        Published.model_validate(content)


def methods(tmp_path, task, found, trace=True):
    for name in ("ours", "theirs"):
        write(tmp_path / name, {task: found})
        if trace:
            write_trace(tmp_path / name, task, [traced(each["doc_id"], "a.mp4") for each in found])
    return [method for name in ("ours", "theirs") for method in read_methods(tmp_path / name)]


def test_the_same_questions_stand_beside_the_published_figures(tmp_path):
    found = rows([1, 0] * 250, metric="score")
    compared = compare(methods(tmp_path, "egoschema_subset", found))
    found = beside(compared, "7b", None)
    values = {(row.system, row.note): [figure.value for figure in row.figures] for row in found.rows}
    assert values["SF-LLaVA", ""] == [47.2]
    assert values["SF-LLaVA", "rerun by KTV"] == [44.2]
    assert values["VideoTree", "GPT-4"] == [66.2] or values["VideoTree", "GPT-4"] == [61.1]
    assert not found.warnings
    big = {row.system: [figure.value for figure in row.figures] for row in beside(compared, "34b", None).rows}
    assert big["IG-VLM"] == [53.6]
    assert not beside(compared, "none", None).rows
    with pytest.raises(ValueError, match="unknown --published '13b'"):
        beside(compared, "13b", None)


def test_other_questions_give_a_warning(tmp_path):
    compared = compare(methods(tmp_path, "nextqa_mc_test", rows([1, 0], metric="exact_match"), trace=False))
    found = beside(compared, "7b", None)
    assert found.rows[0].figures[0].value == 64.2
    assert found.warnings == [
        "nextqa_mc_test asks other questions than the published figures (NExT-QA, validation): evaluate nextqa_mc_val",
        "ours: its prompts are not known to be those of a paper",
        "theirs: its prompts are not known to be those of a paper",
    ]


def test_fewer_questions_and_another_judge_give_a_warning(tmp_path):
    verdict = {"Correctness": "yes", "score": 4}
    judged = [row(doc_id, verdict, metric="gpt_eval_accuracy", gpt_eval_score=verdict) for doc_id in range(5)]
    compared = compare(methods(tmp_path, "activitynetqa", judged))
    found = beside(compared, "7b", None)
    assert [figure.value for figure in found.rows[0].figures] == [55.5, 3.4]
    assert "activitynetqa: 5 questions here, 8000 in the published figures" in found.warnings
    assert any("lmms-eval does not record who judged ours" in warning for warning in found.warnings)
    assert any("qwen judged ours" in warning for warning in beside(compared, "7b", "qwen").warnings)


def test_other_benchmarks_have_no_published_rows(tmp_path):
    compared = compare(methods(tmp_path, "sfllava_shapes_open", rows([1, 0])))
    assert beside(compared, "7b", None).rows == ()
    assert dataclasses.is_dataclass(beside(compared, "7b", None))
