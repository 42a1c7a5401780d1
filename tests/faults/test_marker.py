"""The video marker's token in every kind of request.

Each is refused or answered, and the engine survives. Checkpoints in the original format have no embedding for it.
"""

import functools
import json
from dataclasses import dataclass

import httpx
import pytest
from transformers import AutoTokenizer

from examples.random_checkpoint import SMALL, write_checkpoint
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.registry import Entry
from tests.serving import data_url, serve

NAME = "sf-marked"
ENTRY = {"frames": 4, "pathways": "slowfast-slow_2frms_spatial_2d_avg_pool-fast_2x2"}


@dataclass(frozen=True)
class Server:
    url: str
    marker: int
    vocab_size: int
    video: str

    def chat(self, **settings) -> httpx.Response:
        """Ask about the video."""
        content = [{"type": "video_url", "video_url": {"url": self.video}}, {"type": "text", "text": "What happens?"}]
        messages = [{"role": "user", "content": content}]
        return self._post("chat/completions", messages=messages, **settings)

    def complete(self, prompt, **settings) -> httpx.Response:
        """Continue a prompt of text or token ids."""
        return self._post("completions", prompt=prompt, **settings)

    def _post(self, path: str, **body) -> httpx.Response:
        body = {"model": NAME, "max_tokens": 4, "temperature": 0, "return_token_ids": True, "ignore_eos": True} | body
        return httpx.post(f"{self.url}/v1/{path}", json=body, timeout=120)


@pytest.fixture(
    scope="module", params=[("hf", "vicuna"), ("original", "vicuna"), ("original", "yi")], ids=lambda p: "-".join(p)
)
def server(request, tmp_path_factory, bikes):
    layout, family = request.param
    folder = tmp_path_factory.mktemp(f"{layout}-{family}")
    checkpoint = write_checkpoint(folder / "model", layout=layout, family=family, geometry=SMALL)
    entry = ENTRY | {"checkpoint": str(checkpoint)}
    directory = prepare(Entry(name=NAME, **entry))
    config = json.loads((directory / "config.json").read_text())
    registry = folder / "registry.yaml"
    engine = {"dtype": "float32", "kv_cache_memory_bytes": 64 * 2**20}
    registry.write_text(json.dumps({"models": {NAME: entry | {"engine": engine}}}))
    [marker] = AutoTokenizer.from_pretrained(directory)("<image>", add_special_tokens=False).input_ids
    with serve(NAME, "--enforce-eager", log=folder / "log", SFLLAVA_REGISTRY=str(registry)) as url:
        yield Server(url, marker, config["text_config"]["vocab_size"], data_url(bikes.read_bytes()))


@pytest.fixture(scope="module")
def usual(server):
    """The answer before any bad request."""
    return answered(server.chat())


@pytest.fixture
def alive(server, usual):
    """Check afterwards that a good question gets its usual answer."""
    yield
    assert answered(server.chat()) == usual


def answered(response):
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["token_ids"]


def only(server):
    return {"allowed_token_ids": [server.marker]}


#: Settings of a request.
SETTINGS = {
    "nothing": lambda server: {},
    "prompt log-probabilities": lambda server: {"prompt_logprobs": 1},
    "log-probabilities": lambda server: {"logprobs": 1},
    "echo": lambda server: {"echo": True},
    "repetition penalty": lambda server: {"repetition_penalty": 1.3},
    "presence penalty": lambda server: {"presence_penalty": 1.5},
    "frequency penalty": lambda server: {"frequency_penalty": -1.5},
    "min_p": lambda server: {"min_p": 0.1, "temperature": 1.0, "seed": 0},
    "bias for the marker": lambda server: {"logit_bias": {str(server.marker): 100}},
    "bias against the marker": lambda server: {"logit_bias": {str(server.marker): -100}},
    "the marker alone": only,
    "the marker alone, warm": lambda server: only(server) | {"temperature": 0.5, "seed": 0},
    "the marker alone, penalised": lambda server: only(server) | {"repetition_penalty": 2.0, "presence_penalty": 2.0},
    "the marker as a bad word": lambda server: {"bad_words": ["<image>"]},
    "the marker as a stop token": lambda server: {"stop_token_ids": [server.marker]},
}


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("case", SETTINGS)
def test_a_video_with(server, case):
    answered(server.chat(**SETTINGS[case](server)))


def test_prompt_probabilities_with_a_video(server):
    response = server.chat(prompt_logprobs=1)
    answered(response)
    found = response.json()["prompt_logprobs"]
    ids = response.json()["prompt_token_ids"]
    assert ids.count(server.marker) == 2 * 9 + 4 * 4
    assert all(str(token) in candidates for token, candidates in zip(ids[1:], found[1:], strict=True))


@pytest.mark.usefixtures("alive")
def test_the_marker_is_generated_if_nothing_else_is_allowed(server):
    assert answered(server.chat(**only(server))) == [server.marker] * 4


#: Prompts of /v1/completions.
PROMPTS = {
    "the marker": lambda server: [server.marker],
    "the marker among words": lambda server: [1, 100, server.marker, 200, server.marker, server.marker],
    "the id after the marker": lambda server: [1, 100, server.marker + 1],
    "the last id": lambda server: [1, 100, server.vocab_size - 1],
    "the marker in text": lambda server: "Here <image> and here <image>",
}


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("case", PROMPTS)
def test_a_prompt_of(server, case):
    complete = functools.partial(server.complete, PROMPTS[case](server))
    for settings in SETTINGS.values():
        answered(complete(**settings(server)))
    answered(complete(echo=True, logprobs=1))
    answered(complete(echo=True, logprobs=1, max_tokens=0))


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("beyond", [-1, "vocabulary", 10**6, 2**31, 2**63])
@pytest.mark.parametrize("settings", [{}, {"prompt_logprobs": 1}, {"repetition_penalty": 1.3}], ids=str)
def test_ids_outside_the_vocabulary_are_a_client_error(server, beyond, settings):
    token = server.vocab_size if beyond == "vocabulary" else beyond
    response = server.complete([1, 100, token], **settings)
    assert 400 <= response.status_code < 500, response.text


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize(
    "settings",
    [
        lambda token: {"allowed_token_ids": [token]},
        lambda token: {"logit_bias": {str(token): 1}},
    ],
    ids=["allowed", "bias"],
)
def test_settings_outside_the_vocabulary_are_a_client_error(server, settings):
    response = server.chat(**settings(server.vocab_size))
    assert 400 <= response.status_code < 500, response.text
