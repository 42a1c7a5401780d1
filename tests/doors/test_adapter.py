"""The lmms-eval adapter, given lmms-eval's requests, with a real engine."""

import pytest

from sfllava_plugin.shapes import clips


@pytest.fixture(scope="session")
def tiny():
    """One engine in this process; no setting leaks into other doors'."""
    from sfllava_plugin.engine.offline import Runner

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        return Runner("sf-llava-tiny")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three clips with their files."""
    folder = tmp_path_factory.mktemp("clips")
    found = [clips.clip(40_000 + number) for number in range(3)]
    return [(clip, str(clips.write_clip(clip.scene, folder / f"{i}.mp4"))) for i, clip in enumerate(found)]


@pytest.fixture
def adapter(tiny, monkeypatch):
    """adapter(**model_args): uses the session's engine, and no journal unless one is given."""
    from sfllava_plugin.evaluation import adapter as module

    monkeypatch.setattr(module, "start", lambda *_: tiny)

    def make(**arguments):
        return module.SlowFastLlava(**{"pretrained": "sf-llava-tiny", "journal": "none"} | arguments)

    return make


@pytest.fixture
def ask():
    """ask(model, [(video, context, doc), ...]); videos may be missing."""
    from lmms_eval.api.instance import Instance

    def run(
        model,
        asked,
        kind="generate_until",
        task="some_task",
        settings=None,
        continuations=None,
        padding=(),
        visual=one_video,
    ):
        docs = [doc | {"video": video} for video, _, doc in asked]
        model.task_dict = {task: {"test": docs}}
        requests = []
        for number, (_, context, _) in enumerate(asked):
            second = continuations[number] if continuations else settings or {"until": ["\n\n"], "max_new_tokens": 24}
            arguments = (context, second, visual, number, task, "test")
            metadata = {"task": task, "doc_id": number, "repeats": 1}
            metadata |= {"__padding_only__": True} if number in padding else {}
            requests.append(Instance(kind, arguments, 0, metadata=metadata))
        return getattr(model, kind)(requests)

    return run


def shown_as_is(doc):
    return doc["video"]


def one_video(doc):
    if doc["video"] is None:
        raise SystemExit("video path:/data/gone.mp4 does not exist, please check")
    return [doc["video"]]


def lettered(question):
    lines = [f"{letter}. {option}" for letter, option in zip("ABCDE", question.options, strict=False)]
    return "\n".join([question.text, *lines, "Answer with the option's letter from the given choices directly."])


def test_answers_keep_the_order_of_requests(adapter, ask, made, tiny, monkeypatch):
    from sfllava_plugin.engine.offline import plan as module

    read = []
    real = module.read_video
    monkeypatch.setattr(module, "read_video", lambda path, **settings: read.append(path) or real(path, **settings))
    asked = [
        (video, clip.open_ended[number].text, {"answer": clip.open_ended[number].answer})
        for number in range(4)
        for clip, video in made
    ]
    results = ask(adapter(), asked)
    assert sorted(read) == sorted(video for _, video in made)
    alone = [tiny.answer(module.Question(video, text, max_tokens=24)).text for video, text, _ in asked]
    assert [result.text for result in results] == alone
    assert all(result.token_counts.output_tokens > 0 for result in results)
    right = sum(result.text == doc["answer"] for result, (_, _, doc) in zip(results, asked, strict=True))
    assert right >= 10


@pytest.mark.parametrize("prompt", ["paper", "task"])
def test_multiple_choice_replies_are_letters(adapter, ask, made, prompt, monkeypatch):
    asked = [(video, lettered(clip.multiple_choice[0]), {}) for clip, video in made]
    model = adapter(prompt=prompt)
    if prompt == "task":
        # The tiny model knows only the paper's wrappers.
        from sfllava_plugin.evaluation import answering

        row = answering.as_row
        monkeypatch.setattr(answering, "as_row", lambda result: row(result) | {"text": "B) foo"})
    replies = [result.text for result in ask(model, asked)]
    if prompt == "task":
        assert replies == ["B"] * 3
    else:
        assert replies == [clip.multiple_choice[0].letter for clip, _ in made]


def test_a_missing_video_costs_only_its_own_question(adapter, ask, made, capsys):
    clip, video = made[0]
    text = clip.open_ended[0].text
    results = ask(adapter(), [(None, text, {}), (video, text, {}), ("/data/none.mp4", text, {})])
    assert [bool(result.text) for result in results] == [False, True, False]
    said = capsys.readouterr().err
    assert "/data/gone.mp4 does not exist" in said
    assert "/data/none.mp4 does not exist" in said
    assert "2 of 3 questions could not be answered" in said


def test_pictures_and_text_alone_are_asked_in_the_tasks_own_words(adapter, ask, made, tiny, tmp_path):
    from PIL import Image

    from sfllava_plugin.engine.offline import Question

    _, video = made[0]
    pictures = [Image.new("RGB", (90, 60), colour) for colour in ("red", "blue")]
    paths = tuple(str(tmp_path / f"{number}.png") for number in range(2))
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    text = "What is it?\nA. a tree\nB. a house"
    model = adapter()
    sources = [paths[:1], paths, (), video]
    results = ask(model, [(shown, text, {}) for shown in (pictures[:1], pictures, [], [video])], visual=shown_as_is)
    expected = [tiny.answer(Question(source, text, max_tokens=24)) for source in sources[:3]]
    assert [answer.prompt.count("<image>\n") for answer in expected] == [1, 2, 0]
    assert [answer.video_tokens for answer in expected] == [36, 72, 0]
    assert all(answer.prompt.endswith(f"{text} ASSISTANT:") for answer in expected)
    # A reply that names an option is reduced to its letter.
    assert all(a.text in (e.text, *"AB") for a, e in zip(results, expected, strict=False))
    assert results[3].text in list("AB")


def test_a_picture_beside_a_video_is_refused(adapter, ask, made, capsys):
    from PIL import Image

    _, video = made[0]
    asked = [([video, Image.new("RGB", (9, 9))], "what?", {}), ([video], "what?", {})]
    results = ask(adapter(), asked, visual=shown_as_is)
    assert [bool(result.text) for result in results] == [False, True]
    assert "about one video file or about pictures, not about both at once" in capsys.readouterr().err


def test_no_answers_at_all_are_an_error(adapter, ask):
    with pytest.raises(RuntimeError, match="none of 2 questions"):
        ask(adapter(), [(None, "what?", {}), ("/data/none.mp4", "what?", {})])


def test_padding_is_not_asked(adapter, ask, made):
    clip, video = made[0]
    asked = [(video, clip.open_ended[0].text, {}), ("/data/none.mp4", "padding", {})]
    results = ask(adapter(), asked, padding=(1,))
    assert [bool(result.text) for result in results] == [True, False]


def test_a_tasks_own_stops_cut_the_answer(adapter, ask, made):
    clip, video = made[0]
    question = next(question for question in clip.open_ended if question.kind == "description")
    asked = [(video, question.text, {})]
    [whole] = ask(adapter(), asked)
    stop = whole.text[3:6]
    [cut] = ask(adapter(), asked, settings={"until": [stop], "max_new_tokens": 24})
    assert cut.text == whole.text.split(stop)[0]
    [default] = ask(adapter(), asked, settings={"until": ["\n\n"]})
    assert default.text.startswith(whole.text)


def test_loglikelihood_gives_the_mean_loss(adapter, ask, made):
    clip, video = made[0]
    question = next(question for question in clip.open_ended if question.kind == "flash")
    words = [question.answer, "umbrella" if question.answer != "umbrella" else "tree"]
    pairs = ask(
        adapter(), [(video, question.text, {})] * 2, kind="loglikelihood", continuations=[f" {word}" for word in words]
    )
    (loss, greedy), (other, other_greedy) = pairs
    assert 0 <= loss < other
    assert greedy
    assert not other_greedy


def test_the_journal_answers_a_second_run(adapter, ask, made, tmp_path, capsys):
    asked = [(video, clip.open_ended[0].text, {}) for clip, video in made]
    first = ask(adapter(journal=str(tmp_path)), asked)
    capsys.readouterr()
    again = ask(adapter(journal=str(tmp_path)), asked)
    assert again == first
    assert "3 answers from the journal" in capsys.readouterr().err
    # Another prompt is another question.
    changed = [(video, f"{text} Why?", doc) for video, text, doc in asked[:1]] + asked[1:]
    ask(adapter(journal=str(tmp_path)), changed)
    assert "2 answers from the journal" in capsys.readouterr().err
    ask(adapter(journal=str(tmp_path), max_new_tokens=2), asked)
    assert "from the journal" not in capsys.readouterr().err


def test_multi_round_tasks_are_refused(adapter):
    with pytest.raises(NotImplementedError, match="several rounds"):
        adapter().generate_until_multi_round([])


def test_errors_name_wrong_arguments(adapter):
    with pytest.raises(ValueError, match="prompt=papre"):
        adapter(prompt="papre")
    with pytest.raises(ValueError, match="num_processes 4"):
        adapter(data_parallel_size=4)


def test_engine_arguments_are_merged():
    from sfllava_plugin.evaluation.launch import engine_arguments

    given = {"media_io_kwargs": '{"video": {"fps": 2}, "image": {}}', "hf_overrides": '{"a": 1}', "dtype": "float32"}
    assert engine_arguments(given, 8, {"pathways": "slowfast-slow_4frms_concat-fast_2x2", "newline": None}) == {
        "media_io_kwargs": {"video": {"fps": 2, "num_frames": 8}, "image": {}},
        "hf_overrides": {"a": 1, "sfllava": {"pathways": "slowfast-slow_4frms_concat-fast_2x2"}},
        "dtype": "float32",
    }


def test_lmms_eval_is_patched_once():
    from lmms_eval import evaluator

    from sfllava_plugin.evaluation.lmms_eval_fixes import keep_likelihood_pairs

    keep_likelihood_pairs()
    patched = evaluator.unwrap_generation_output
    assert patched((0.5, True)) == ((0.5, True), None)
    assert patched([0.5, True]) == ((0.5, True), None)
    assert patched("text") == ("text", None)
    keep_likelihood_pairs()
    assert evaluator.unwrap_generation_output is patched
