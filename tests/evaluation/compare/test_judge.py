"""Judging logged answers again, with a mock judge over HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from sfllava_plugin.evaluation.compare import judge as module
from sfllava_plugin.evaluation.compare.judge import read_verdict
from tests.evaluation.compare.folders import row, rows, write


class MockJudge:
    """An OpenAI-compatible server that says yes if the prediction has the right answer in it."""

    def __init__(self):
        self.bodies, self.headers, self.fail_after, self.reply = [], [], None, None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self.send({"data": [{"id": "mock-judge"}]} if self.path == "/v1/models" else None)

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                outer.headers.append(self.headers["Authorization"])
                if outer.fail_after is not None and len(outer.bodies) > outer.fail_after:
                    self.send(None)
                    return
                text = body["messages"][1]["content"]
                answer = text.partition("Correct Answer: ")[2].partition("\n")[0]
                right = answer in text.partition("Predicted Answer: ")[2].partition("\n")[0]
                said = outer.reply or f"Here: {{'pred': '{'yes' if right else 'no'}', 'score': {5 if right else 1}}}"
                self.send({"choices": [{"message": {"content": said}}]})

            def send(self, content):
                self.send_response(200 if content else 500)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def mock(monkeypatch, tmp_path):
    monkeypatch.setenv("SFLLAVA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    started = MockJudge()
    yield started
    started.server.shutdown()
    started.server.server_close()


def judged(replies, verdict="no"):
    """Rows as activitynetqa logs them, all with one verdict."""
    found = []
    for doc_id, reply in enumerate(replies):
        entry = {"question": f"what {doc_id}?", "answer": "cat", "pred": reply, "Correctness": verdict, "score": 0}
        found.append(row(doc_id, entry, metric="gpt_eval_accuracy", gpt_eval_score=entry, reply=reply))
    return found


@pytest.fixture
def folders(tmp_path):
    write(tmp_path / "a", {"activitynetqa": judged(["a cat"] * 6 + ["a dog"] * 4, verdict="yes")})
    write(tmp_path / "b", {"activitynetqa": judged(["a cat"] * 3 + ["a cow"] * 7)})
    return [tmp_path / "a", tmp_path / "b"]


def cells(path):
    return {
        each["metric"]: {label: cell["value"] for label, cell in each["methods"].items()}
        for each in json.loads(path.read_text())["comparisons"]
    }


def test_one_judge_for_all_rows(sfllava, mock, folders, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    code, out, err = sfllava("compare", *folders, "--judge", mock.url, "--json", tmp_path / "out.json")
    assert code == 0, err
    assert cells(tmp_path / "out.json") == {
        "gpt_eval_accuracy": {"a": 60, "b": 30},
        "gpt_eval_score": {"a": 5 * 0.6 + 0.4, "b": 5 * 0.3 + 0.7},
    }
    assert "mock-judge judged the answers of every method" in out
    assert "mock-judge judged ours" in out
    assert {body["model"] for body in mock.bodies} == {"mock-judge"}
    assert all(body["temperature"] == 0 and body["max_tokens"] == 64 for body in mock.bodies)
    assert set(mock.headers) == {"Bearer secret"}
    # Equal questions with equal replies are asked once, and nothing again.
    asked = len(mock.bodies)
    assert asked == 10 + 7
    assert sfllava("compare", *folders, "--judge", mock.url)[0] == 0
    assert len(mock.bodies) == asked
    assert "own gpt_eval_accuracy" not in out


def test_a_judge_that_stops_is_named_and_verdicts_are_kept(sfllava, mock, folders, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    mock.fail_after = 5
    code, out, err = sfllava("compare", *folders, "--judge", mock.url)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"sfllava: {mock.url}: no verdict after 3 tries")
    assert "verdicts so far are kept" in err.splitlines()[-1]
    mock.fail_after, before = None, len(mock.bodies)
    assert sfllava("compare", *folders, "--judge", mock.url)[0] == 0
    assert len(mock.bodies) - before == 17 - 5


def test_no_judge_is_one_line(sfllava, folders):
    code, _, err = sfllava("compare", *folders, "--judge", "http://127.0.0.1:9/v1")
    assert code == 2
    assert err.startswith("sfllava: no judge at http://127.0.0.1:9/v1/models: ")
    assert err.count("\n") == 1


def test_nothing_to_judge_is_one_line(sfllava, mock, tmp_path):
    for name in ("c", "d"):
        write(tmp_path / name, {"quiz": rows([1, 0])})
    code, _, err = sfllava("compare", tmp_path / "c", tmp_path / "d", "--judge", mock.url)
    assert (code, err) == (1, "sfllava: no folder has answers that a judge scored, so --judge has nothing to do\n")


def test_unreadable_verdicts_count_as_no(sfllava, mock, folders, tmp_path):
    mock.reply = "I cannot tell."
    code, _, err = sfllava("compare", *folders, "--judge", mock.url, "--json", tmp_path / "out.json")
    assert code == 0
    assert cells(tmp_path / "out.json")["gpt_eval_accuracy"] == {"a": 0, "b": 0}
    assert "20 of 20 verdicts are unreadable and count as no, 0" in err


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("{'pred': 'Yes', 'score': 4.8}", {"pred": "yes", "score": 4}),
        ('Sure: {"score": 3}', {"pred": "", "score": 3}),
        ("{'pred': 'yes'}", None),
        ("{'score': 'many'}", None),
        ("{__import__('os')}", None),
        ("yes", None),
    ],
)
def test_verdicts_are_read(text, verdict):
    assert read_verdict(text) == verdict


def test_readable_verdicts_are_read_as_the_stock_tasks_do(monkeypatch, tmp_path):
    pytest.importorskip("lmms_eval")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    from lmms_eval.tasks.activitynetqa.utils import parse_score

    for text in ("{'pred': 'yes', 'score': 5}", "ok {'pred': 'no', 'score': 0} ok", "{'pred': 'YES', 'score': 4.8}"):
        pred, score = parse_score(text)
        assert read_verdict(text) == {"pred": pred, "score": score}


def test_the_prompts_are_those_of_the_stock_tasks(monkeypatch, tmp_path):
    pytest.importorskip("lmms_eval")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    from lmms_eval.tasks.activitynetqa import utils as activitynet
    from lmms_eval.tasks.videochatgpt import utils as vcgbench

    sent = []

    class Response:
        def raise_for_status(self):
            pass

        def json(self):
            return {"choices": [{"message": {"content": "{}"}}], "model": "m"}

    monkeypatch.setattr(activitynet.requests, "post", lambda *_, json, **__: sent.append(json) or Response())
    activitynet.get_eval("what?", "<pred>", "a cow", 64)
    for part in ("correctness", "detailed_orientation", "context", "temporal"):
        vcgbench.get_eval_generic("what?", "<pred>", "a cow", part, 64)
    ours = yaml.safe_load((module.Path(module.__file__).parent / "judge_prompts.yaml").read_text(encoding="utf-8"))
    assert len(ours) == len(sent) == 5
    for prompt, body in zip(ours, sent, strict=True):
        metric = prompt["metrics"][0]
        logged = {"question": "what?", "answer": "<pred>", "pred": "a cow", "score": 0}
        sample = module.Sample(0, "", "", "", {metric: logged}, None, None, 1, None)
        run = type("Run", (), {"samples": {0: sample}})
        [(_, metrics, messages)] = module._requests(run)
        assert (metrics, messages, body["max_tokens"]) == ((metric,), body["messages"], 64)
