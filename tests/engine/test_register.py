"""The plugin in a process that serves another model: light, and harmless when broken."""

import json
import os
import subprocess
import sys

import pytest

from sfllava_plugin.engine import _PARTS

BROKEN_REGISTRY = "models:\n  mine:\n    checkpoint: me/my-llava\n    frame: 7\n"


@pytest.fixture
def run(tmp_path):
    """run(program, registry=None): a new process's last line as JSON, and errors."""

    def call(program, registry=None):
        variables = {"VLLM_LOGGING_LEVEL": "WARNING"}
        if registry:
            path = tmp_path / "own.yaml"
            path.write_text(registry)
            variables["SFLLAVA_REGISTRY"] = str(path)
        done = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | variables, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), done.stderr

    return call


def test_registering_imports_nothing_heavy(run):
    parts = ", ".join(f"sfllava_plugin.engine.{part}" for part in _PARTS)
    modules, _ = run(f"import json, sys, {parts}\nprint(json.dumps(sorted(sys.modules)))")
    heavy = {"av", "decord", "PIL", "numpy", "torch", "transformers", "vllm", "cv2"}
    assert not heavy & {name.partition(".")[0] for name in modules}


#: Configures an engine for a model that is not ours, as far as possible without weights.
FOREIGN = """
import json
from transformers import LlamaConfig
from vllm import EngineArgs
LlamaConfig(
    architectures=["LlamaForCausalLM"], hidden_size=64, num_attention_heads=4, num_key_value_heads=4,
    num_hidden_layers=2, intermediate_size=64, vocab_size=64, dtype="float32",
).save_pretrained("FOLDER")
config = EngineArgs(model="FOLDER", skip_tokenizer_init=True).create_engine_config()
said = [config.model_config.architecture]
"""


def test_a_broken_registry_stops_our_models_only(run, tmp_path):
    ours = """
try:
    EngineArgs(model="sf-llava-tiny").create_engine_config()
except ValueError as error:
    said.append(str(error))
print(json.dumps(said))
"""
    program = (FOREIGN + ours).replace("FOLDER", str(tmp_path / "llama"))
    (architecture, error), warned = run(program, BROKEN_REGISTRY)
    assert architecture == "LlamaForCausalLM"
    assert error.startswith(f"{tmp_path / 'own.yaml'}, line 4: mine: unknown key 'frame'")
    assert "\n" not in error
    # One warning: the file may define the model in question.
    assert warned.count("own.yaml, line 4") == 1


def test_a_part_that_fails_to_register_only_warns(run, tmp_path):
    program = f"import vllm.multimodal.video\ndel vllm.multimodal.video.VIDEO_LOADER_REGISTRY\n{FOREIGN}"
    said, warned = run(program.replace("FOLDER", str(tmp_path / "llama")) + "print(json.dumps(said))")
    assert said == ["LlamaForCausalLM"]
    assert "video_loader is not registered with this version of vLLM" in warned
