"""The paper's tasks, loaded from local files by lmms-eval's own code."""

import json
from pathlib import Path

import pytest

import sfllava_plugin
from sfllava_plugin.evaluation import exit_status
from tests import releases as question_files

TASKS_FOLDER = Path(sfllava_plugin.__file__).parent / "evaluation" / "tasks"
#: By task: its file, its split, and what the first document says.
VALIDATION = {
    "nextqa_mc_val": "nextqa/val.csv",
    "intentqa_val": "intentqa/val.csv",
    "msvd_qa_val": "msvd_qa/val_qa.json",
    "msrvtt_qa_val": "msrvtt_qa/val_qa.json",
}
TASKS = VALIDATION | {"tgif_frameqa": "tgif_frameqa/Test_frameqa_question.csv"}


@pytest.fixture(scope="module")
def manager():
    from lmms_eval.tasks import TaskManager

    return TaskManager(include_path=str(TASKS_FOLDER), include_defaults=False)


@pytest.fixture
def releases(tmp_path, monkeypatch):
    """A folder with the question files, as SFLLAVA_DATA names it."""
    folder = tmp_path / "releases"
    question_files.write_questions(folder)
    for name, value in {"SFLLAVA_DATA": folder, "HF_HOME": tmp_path / "hf", "HF_DATASETS_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, str(value))
    return folder


def load(manager, task):
    from lmms_eval.tasks import get_task_dict

    return get_task_dict([task], manager)[task]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_asks_every_question_of_its_split(manager, releases, task):
    rows, videos, first = question_files.SPLITS[TASKS[task]]
    loaded = load(manager, task)
    docs = loaded.test_docs()
    assert loaded.config.test_split == ("validation" if task in VALIDATION else "test")
    assert (len(docs), len(set(docs["video"]))) == (rows, videos)
    if TASKS[task].endswith(".json"):
        assert docs[0]["id"] == str(first)
    assert loaded.doc_to_target(docs[0]) == docs[0]["answer"]


@pytest.mark.parametrize(
    ("task", "right", "metric"), [("nextqa_mc_val", True, "exact_match"), ("intentqa_val", 1.0, "accuracy")]
)
def test_a_choice_is_scored_by_its_letter(manager, releases, task, right, metric):
    loaded = load(manager, task)
    doc = loaded.test_docs()[0]
    letter = doc["answer"]
    wrong = next(other for other in "ABCDE" if other != letter)
    assert loaded.process_results(doc, [letter]) == {metric: right}
    assert loaded.process_results(doc, [wrong]) == {metric: False}
    assert loaded.process_results(doc, ["no idea"]) == {metric: False}


def test_nextqa_has_the_text_of_the_stock_task(manager, releases):
    doc = load(manager, "nextqa_mc_val").test_docs()[0]
    assert not doc["question"].endswith("?")
    assert load(manager, "intentqa_val").test_docs()[0]["question"] == f"{doc['question']}?"


def test_videos_of_nextqa_are_found_where_the_stock_task_keeps_them(manager, releases, tmp_path):
    stock = tmp_path / "hf" / "nextqa" / "NExTVideo" / "0.mp4"
    stock.parent.mkdir(parents=True)
    stock.touch()
    loaded = load(manager, "nextqa_mc_val")
    assert loaded.doc_to_visual(loaded.test_docs()[0]) == [str(stock)]
    own = releases / "nextqa" / "videos" / "1.mp4"
    own.parent.mkdir()
    own.touch()
    loaded = load(manager, "nextqa_mc_val")
    assert loaded.doc_to_visual(loaded.test_docs()[1]) == [str(own)]


@pytest.fixture
def refusal(manager, monkeypatch, capsys):
    """refusal(task): the line with which lmms-eval's command ends.

    Outside of the command lmms-eval tries to load a task several times.
    """
    monkeypatch.setattr(exit_status, "_is_lmms_evals_command", lambda: True)
    monkeypatch.setattr(exit_status, "_status", 0)

    def load_in_vain(task):
        with pytest.raises(SystemExit) as ended:
            load(manager, task)
        assert ended.value.code == exit_status._status == 2
        return capsys.readouterr().err.splitlines()[-1]

    yield load_in_vain
    exit_status._status = 0


@pytest.mark.parametrize("task", TASKS)
def test_a_missing_question_is_named(refusal, releases, task):
    rows, videos, first = question_files.SPLITS[TASKS[task]]
    question_files.write_split(releases / TASKS[task], rows - 1, videos, first)
    line = refusal(task)
    assert line.startswith(f"sfllava: {task} needs the ")
    assert line.endswith(f" (questions: {rows - 1} instead of {rows}): download its file again")


@pytest.mark.parametrize("task", VALIDATION)
def test_other_videos_are_named(refusal, releases, task):
    rows, videos, first = question_files.SPLITS[TASKS[task]]
    question_files.write_split(releases / TASKS[task], rows, videos - 1, first)
    assert f"(videos: {videos - 1} instead of {videos})" in refusal(task)


@pytest.mark.parametrize("task", ["msvd_qa_val", "msrvtt_qa_val"])
def test_another_first_question_is_named(refusal, releases, task):
    path = releases / TASKS[task]
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(rows[1:] + rows[:1]))
    first = rows[0]["id"]
    assert f"(the first question's id: {first + 1} instead of {first})" in refusal(task)


def test_the_groups_ask_validation_splits(manager):
    asked = {name: manager.task_index[name]["yaml_path"] for name in ("sfllava_multiple_choice", "sfllava_open_ended")}
    found = {name: set(manager._get_config(name)["task"]) for name in asked}
    assert found == {
        "sfllava_multiple_choice": {"nextqa_mc_val", "egoschema_subset", "intentqa_val"},
        "sfllava_open_ended": {"msvd_qa_val", "msrvtt_qa_val", "tgif_frameqa", "activitynetqa"},
    }
