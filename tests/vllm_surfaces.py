"""Import the plugin with another vLLM release; compare overridden signatures.

    python -m tests.vllm_surfaces 0.33.0

Downloads the release's wheel and extracts its Python sources. A process that finds these before the installed vLLM
registers the plugin, imports model, processor and runner, and compares the parameters of every overridden method with
the installed vLLM's. No model is run: the wheel's compiled parts need a GPU.
"""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

CACHE = Path("build/vllm-releases")

CHECK = """
import inspect, json, logging, sys
logging.disable(logging.WARNING)
import vllm
assert vllm.__file__.startswith(sys.argv[1]), vllm.__file__
from sfllava_plugin.engine import register
register()
from vllm import EngineArgs, ModelRegistry
from vllm.engine import arg_utils
from vllm.model_executor.models.config import MODELS_CONFIG_MAP
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY
from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, get_video_loader_backend_for_processor
from sfllava_plugin.engine.model import llava, processing
from sfllava_plugin.engine.offline import runner
from sfllava_plugin.checkpoints.prepared import ARCHITECTURE, VIDEO_PROCESSOR
assert ARCHITECTURE in ModelRegistry.get_supported_archs()
assert ARCHITECTURE in MODELS_CONFIG_MAP
assert get_video_loader_backend_for_processor(VIDEO_PROCESSOR) == "sfllava"
connector = MEDIA_CONNECTOR_REGISTRY.load("sfllava", allowed_local_media_path="")
classes = [
    llava.SlowFastLlavaForConditionalGeneration,
    processing.SlowFastLlavaProcessingInfo,
    processing.SlowFastLlavaDummyInputs,
    processing.SlowFastLlavaProcessor,
    type(connector),
    VIDEO_LOADER_REGISTRY.name2class["sfllava"],
]
signatures = {}
for owner in classes:
    for name, ours in vars(owner).items():
        base = next((vars(parent)[name] for parent in owner.__mro__[1:] if name in vars(parent)), None)
        base = getattr(base, "__func__", base)
        if name != "__init__" and inspect.isfunction(base):
            signatures[f"{owner.__name__}.{name}"] = list(inspect.signature(base).parameters)
wraps = (EngineArgs.create_engine_config, EngineArgs.add_cli_args, EngineArgs.from_cli_args, arg_utils.get_model_path)
for wrapped in wraps:
    assert hasattr(wrapped, "_sfllava_wrapped")
    signatures[wrapped.__qualname__] = list(inspect.signature(wrapped.__wrapped__).parameters)
print("SIGNATURES " + json.dumps(signatures))
"""


def sources(release: str) -> Path:
    """Download the Python sources of a vLLM release, once."""
    folder = CACHE / release
    if not folder.exists():
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE)]
        subprocess.run([*fetch, "--disable-pip-version-check", f"vllm=={release}"], check=True)
        [wheel] = CACHE.glob(f"vllm-{release}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.endswith((".py", ".json"))])
        wheel.unlink()
    return folder.resolve()


def signatures(folder: Path) -> str:
    """List the overridden methods' parameters in the vLLM in ``folder``.

    Raises:
        subprocess.CalledProcessError: the plugin does not import or register there.
    """
    path = os.pathsep.join([str(folder), str(Path.cwd())])
    environment = os.environ | {"PYTHONPATH": path, "VLLM_LOGGING_LEVEL": "ERROR"}
    command = [sys.executable, "-c", CHECK, str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return next(line for line in done.stdout.splitlines() if line.startswith("SIGNATURES "))


def main(release: str) -> None:
    installed = Path(importlib.util.find_spec("vllm").origin).parent.parent
    here, there = signatures(installed), signatures(sources(release))
    if here != there:
        sys.exit(f"vllm {release} has other parameters than the installed one:\n{here}\n{there}")
    print(f"vllm {release}: the plugin imports and registers; {here.count('[')} overridden methods are unchanged")


if __name__ == "__main__":
    main(sys.argv[1])
