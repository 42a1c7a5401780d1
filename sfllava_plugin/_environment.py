"""Process settings of the commands, and hints on what to install.

Imports nothing heavy, because `quiet` must run before torch is imported.
"""

import os
import sys
import warnings
from importlib import import_module

from sfllava_plugin.errors import EngineStartError


def quiet() -> None:
    """Keep stdout for the answer and stderr for what matters.

    Call it before importing torch or vllm. Variables that the user has set are left alone.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TORCH_LOGS", "-all")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # The filter is for this process, the variable for its children.
    if not sys.warnoptions and "PYTHONWARNINGS" not in os.environ:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"


def install_hint(*extras: str) -> str:
    """Return the command that installs an extra from source.

    The package is on no index.
    """
    commands = " or ".join(f"pip install '.[{extra}]'" for extra in extras)
    return f"{commands} in the sfllava_plugin source folder"


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
