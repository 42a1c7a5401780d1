"""Token ids of prompts, from the tokenizers of prepared model directories."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from examples.random_checkpoint import SMALL, write_checkpoint
from examples.random_tokenizers import FAMILIES
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.prompts import render
from sfllava_plugin.registry import Entry
from tests import reference

KINDS = [("vicuna", "hf"), ("vicuna", "original"), ("yi", "hf"), ("yi", "original")]
KINDS += [("mistral", "hf"), ("llama3", "hf"), ("qwen", "hf")]
QUESTION, OPTIONS = "What is on the street?", ["A red bus.", "Two bikes"]


class Model(NamedTuple):
    """The tokenizer and the chat template of a prepared model directory."""

    tokenizer: PreTrainedTokenizerBase
    template: str

    def prompt(self, question: str, options=None) -> str:
        marks = {"bos_token": self.tokenizer.bos_token or "", "eos_token": self.tokenizer.eos_token}
        return render(self.template, question, options, **marks)

    def ids(self, question: str, options=None) -> list[int]:
        # As vLLM's chat endpoint does: the template writes the leading token.
        return self.tokenizer(self.prompt(question, options), add_special_tokens=False).input_ids

    def tokens(self, question: str, options=None) -> list[str]:
        return self.tokenizer.convert_ids_to_tokens(self.ids(question, options))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """models[family, layout]: a random checkpoint, prepared."""
    prepared = {}
    for family, layout in KINDS:
        folder = tmp_path_factory.mktemp(f"{family}-{layout}")
        write_checkpoint(folder, family=family, layout=layout, geometry=SMALL)
        out = prepare(Entry(name=family, checkpoint=str(folder)))
        template = (out / "chat_template.jinja").read_text(encoding="utf-8")
        prepared[family, layout] = Model(AutoTokenizer.from_pretrained(out), template)
    return prepared


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """released(family, prompt): the released program's ids, by sentencepiece alone, with None for the video."""
    folders = {family: tmp_path_factory.mktemp(f"model-{family}") for family in ("vicuna", "yi")}
    for family, folder in folders.items():
        write_checkpoint(folder, family=family, layout="original", geometry=SMALL)

    read = {family: str(folder / "tokenizer.model") for family, folder in folders.items()}
    loaded = {family: SentencePieceProcessor(model_file=path) for family, path in read.items()}

    def ids(family: str, prompt: str) -> list[int | None]:
        model = loaded[family]
        before, after = prompt.removeprefix("<s>").split("<image>")
        leading = [model.bos_id()] if family == "vicuna" else []
        return [*leading, *model.encode(before), None, *model.encode(after)]

    return ids


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_vicuna_has_a_space_token_before_and_after_the_video(models, layout):
    tokens = models["vicuna", layout].tokens(QUESTION)
    assert tokens[:10] == ["<s>", "▁US", "ER", ":", "▁", "<image>", "▁", "<0x0A>", "The", "▁input"]
    assert "".join(tokens[-8:]) == "<0x0A>Answer:▁In▁the▁video,"


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_yi_has_turn_tokens_and_no_space_token_after_the_video(models, layout):
    tokens = models["yi", layout].tokens(QUESTION)
    assert tokens[:3] == ["<|im_start|>", "system", "<0x0A>"]
    video = tokens.index("<image>")
    assert tokens[video - 4 : video + 3] == ["<|im_start|>", "user", "<0x0A>", "▁", "<image>", "<0x0A>", "The"]
    assert tokens.count("<|im_start|>") == 3
    assert tokens.count("<|im_end|>") == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [None, OPTIONS])
def test_ids_are_those_of_the_text_around_the_video(models, kind, options):
    model = models[kind]
    marker = model.tokenizer.convert_tokens_to_ids("<image>")
    prompt = model.prompt(QUESTION, options).removeprefix(model.tokenizer.bos_token or "<none>")
    expected = reference.prompt_token_ids(model.tokenizer, prompt)
    assert expected.count(None) == 1
    assert model.ids(QUESTION, options) == [marker if i is None else i for i in expected]


@pytest.mark.parametrize("options", [None, OPTIONS])
@pytest.mark.parametrize(
    "question",
    [
        QUESTION,
        "  two  spaces \t and a tab ",
        "Grüße, 東京, 🚲 and \u00a0?",
        "one\n\ntwo\r\nthree",
        "",
        "(A)[B]{C}",
    ],
)
@pytest.mark.parametrize("family", ["vicuna", "yi"])
def test_ids_equal_the_released_programs(models, released, family, question, options):
    for layout in ("hf", "original"):
        model = models[family, layout]
        marker = model.tokenizer.convert_tokens_to_ids("<image>")
        expected = released(family, model.prompt(question, options))
        assert model.ids(question, options) == [marker if i is None else i for i in expected]


@pytest.mark.parametrize("layout", ["hf", "original"])
@pytest.mark.parametrize("family", ["vicuna", "yi"])
def test_runs_of_spaces_are_tokenised_as_in_the_released_program(models, released, family, layout):
    model = models[family, layout]
    marker = model.tokenizer.convert_tokens_to_ids("<image>")
    for run in range(1, 80):
        question = f"a{' ' * run}b\n{' ' * run}c"
        expected = released(family, model.prompt(question))
        assert model.ids(question) == [marker if i is None else i for i in expected], run


PIECES = ["  ", "   ", "\n", "\t", "▁", "<0x0A>", "the ", "Über", "東京", "🚲", ".", "''", "ab", "\u00a0", "\u0301"]
SENTENCES = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=10).map("".join)


@pytest.mark.parametrize("family", ["vicuna", "yi"])
@pytest.mark.parametrize("layout", ["hf", "original"])
@given(question=SENTENCES)
def test_the_ids_of_any_question_equal_the_released_programs(models, released, family, layout, question):
    model = models[family, layout]
    marker = model.tokenizer.convert_tokens_to_ids("<image>")
    expected = released(family, model.prompt(question))
    assert model.ids(question) == [marker if i is None else i for i in expected]


FRAGMENTS = ["<", ">", "|", "/", "s", " ", "\n", "image", "im_end", "eot_id", "What?", "[INST]"]
FRAGMENTS += ["<image>", "<s>", "</s>", "<unk>", "<pad>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
FRAGMENTS += ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@given(question=TEXTS, option=TEXTS)
def test_no_text_becomes_a_special_token(models, kind, question, option):
    model = models[kind]
    special = set(model.tokenizer.all_special_ids) | set(model.tokenizer.added_tokens_decoder)
    found, plain = (
        [i for i in ids if i in special] for ids in (model.ids(question, [option, "y"]), model.ids("x", ["x", "y"]))
    )
    assert found == plain


@pytest.mark.parametrize(("name", "family"), FAMILIES.items())
def test_a_leading_token_comes_once_where_the_tokenizer_has_one(models, name, family):
    model = models[name, "hf"]
    start = model.tokenizer.bos_token_id
    assert model.ids(QUESTION).count(start) == int(family.adds_bos)
    assert (model.ids(QUESTION)[0] == start) == family.adds_bos
