"""The process our commands run in: how much it says, and what to install where a part is missing.

Imports nothing heavy: it is needed before torch is imported.
"""

import os
import sys
import warnings
from importlib import import_module

from sfllava_plugin.errors import EngineStartError


def quiet() -> None:
    """Leave standard output to the answer and standard error to what matters; the user's settings win.

    To be called before torch and vllm are imported.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TORCH_LOGS", "-all")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # For this process and for those it starts.
    if not sys.warnoptions and "PYTHONWARNINGS" not in os.environ:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"


def install_hint(*extras: str) -> str:
    """The command that installs one of our extras. No index has this package: it is installed from its source."""
    commands = " or ".join(f"pip install '.[{extra}]'" for extra in extras)
    return f"{commands} in the folder of sfllava_plugin's source"


def require_vllm() -> None:
    """Import vLLM.

    Raises:
        EngineStartError: it is not installed; the message says how to install it.
    """
    try:
        import_module("vllm")
    except ModuleNotFoundError as error:
        # A module that vLLM lacks is another problem, which its own message names.
        if error.name != "vllm":
            raise
        raise EngineStartError(f"vllm is not installed: {install_hint('cuda', 'cpu')}") from error
