"""The front of the engine loads its parts lazily."""

import subprocess
import sys

import pytest

from sfllava_plugin.engine import offline

PROGRAM = """
import sys
from sfllava_plugin.engine import offline
offline.Question("video.mp4", "?"), offline.devices_of({})
loaded = {"vllm", "torch", "transformers", "ray"} & set(sys.modules)
assert not loaded, loaded
"""


def test_importing_the_front_loads_neither_vllm_nor_torch():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Runer'"):
        offline.Runer  # noqa: B018
