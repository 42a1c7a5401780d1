"""Merge the LoRA adapters among a checkpoint's weights into the layers that they adapt.

PLLaVA's files hold its language model as PEFT wrapped it. An adapted layer X has ``X.base_layer.weight`` [out, in],
``X.lora_A.NAME.weight`` [r, in] and ``X.lora_B.NAME.weight`` [out, r]. It becomes ``X.weight``: base + alpha / r * B A.
Without the adapters the model would answer fluently and score wrong.

Files without adapters are linked. The others are written again, tensor by tensor: memory holds one layer at a time.
"""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from safetensors import safe_open

from sfllava_plugin.checkpoints import json_files
from sfllava_plugin.checkpoints.formats import read_json
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.checkpoints.weights import tensors, weight_files

if TYPE_CHECKING:
    import torch

_FACTOR = re.compile(r"(?P<layer>.+)\.lora_(?P<factor>[AB])(\.[^.]+)?\.weight")
_BASE = ".base_layer."
#: Parts of the names that PEFT gives to other kinds of adapters, and of weights trained beside any.
_OTHER = re.compile(r"\.(base_layer\.(?!weight$|bias$)|lora_|modules_to_save\.|original_module\.)")
_FLOATS = ("F64", "F32", "F16", "BF16")
_CHUNK = 2**24


@dataclass(frozen=True)
class _Tensor:
    """A tensor in a safetensors file.

    Attributes:
        entry: its dtype and shape, as in the file's header.
        start, size: of its bytes in the file.
    """

    file: Path
    name: str
    entry: dict[str, Any]
    start: int
    size: int

    def read(self) -> "torch.Tensor":
        with safe_open(self.file, framework="pt") as weights:
            tensor: torch.Tensor = weights.get_tensor(self.name)
        return tensor


@dataclass(frozen=True)
class _Adapter:
    """One adapted layer: what it adds to, and its two factors."""

    base: _Tensor
    a: _Tensor
    b: _Tensor

    def merged(self, alpha: float) -> "torch.Tensor":
        """Add the product of the factors to the base, in float32."""
        base, a, b = (part.read() for part in (self.base, self.a, self.b))
        return (base.float() + (alpha / len(a)) * (b.float() @ a.float())).to(base.dtype)


def merge(folder: Path, out: Path, alpha: float) -> int:
    """Write the weights of ``folder`` into ``out``, with their adapters merged and without PEFT's names for them.

    Args:
        alpha: the weight of the adapters; their rank, which divides it, is that of their factors.

    Returns:
        The number of adapted layers.

    Raises:
        CheckpointError: an adapter is of another kind, or incomplete.
        OSError: ``out`` cannot be written.
    """
    weights = _read(folder)
    adapters = _adapters(folder, weights)
    written: dict[Path, list[_Tensor]] = {}
    for tensor in weights.values():
        written.setdefault(tensor.file, [])
        if not _FACTOR.fullmatch(tensor.name):
            written[tensor.file].append(tensor)
    changed = {part.file for adapter in adapters.values() for part in (adapter.base, adapter.a, adapter.b)}
    for file, kept in written.items():
        if file not in changed:
            (out / file.name).symlink_to(file.absolute())
        elif kept:
            _write(file, out / file.name, kept, adapters, alpha)
    for file in weight_files(folder):
        if file.suffix == ".json":
            _write_index(file, out / file.name, sum(tensor.size for kept in written.values() for tensor in kept))
    return len(adapters)


def _read(folder: Path) -> dict[str, _Tensor]:
    """Read where each tensor is, in the order of the files."""
    for _ in tensors(folder):
        pass  # safetensors refuses damaged headers
    found = {}
    for file in weight_files(folder):
        if file.suffix == ".safetensors":
            header, data = _header(file)
            header.pop("__metadata__", None)
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                start, end = entry.pop("data_offsets")
                found[name] = _Tensor(file, name, entry, data + start, end - start)
    return found


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """Read a safetensors header, and where the data begins after it."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        return json.loads(opened.read(length)), 8 + length


def _adapters(folder: Path, weights: Mapping[str, _Tensor]) -> dict[str, _Adapter]:
    """Find the adapters by the name of the weight that each adds to, and refuse all but plain LoRA."""
    factors: dict[str, dict[str, _Tensor]] = {}
    for name, tensor in weights.items():
        if match := _FACTOR.fullmatch(name):
            own = factors.setdefault(match["layer"], {})
            if match["factor"] in own:
                raise CheckpointError(f"{folder}: {match['layer']} has several adapters: merge them beforehand")
            own[match["factor"]] = tensor
        elif _OTHER.search(name):
            raise CheckpointError(f"{folder}: {name} belongs to no plain LoRA adapter: merge it beforehand")
    adapters = {}
    for layer, own in factors.items():
        base = weights.get(f"{layer}{_BASE}weight") or weights.get(f"{layer}.weight")
        if base is None or len(own) != 2:
            raise CheckpointError(f"{folder}: {layer} lacks a part of its adapter: download the checkpoint again")
        adapters[base.name] = adapter = _Adapter(base, own["A"], own["B"])
        _check(folder, layer, adapter)
    for name in weights:
        if name.endswith(f"{_BASE}weight") and name not in adapters:
            raise CheckpointError(f"{folder}: {name} lacks its adapter: download the checkpoint again")
        if _BASE in name and (plain := name.replace(_BASE, ".")) in weights:
            raise CheckpointError(f"{folder}: it has both {name} and {plain}: remove one")
    return adapters


def _check(folder: Path, layer: str, adapter: _Adapter) -> None:
    entries = [part.entry for part in (adapter.base, adapter.a, adapter.b)]
    if other := [entry["dtype"] for entry in entries if entry["dtype"] not in _FLOATS]:
        raise CheckpointError(f"{folder}: {layer} is {other[0]}: its adapter can be merged into floats only")
    base, a, b = (entry["shape"] for entry in entries)
    if not (len(a) == len(b) == 2 and a[0] == b[1] > 0 and base == [b[0], a[1]]):
        raise CheckpointError(f"{folder}: {layer} is {base}, and its adapter {b} x {a} does not fit")


def _write(source: Path, out: Path, kept: list[_Tensor], adapters: Mapping[str, _Adapter], alpha: float) -> None:
    """Write a safetensors file with the tensors ``kept`` of ``source``, merged where they have adapters.

    The format's own writer would hold the whole file in memory.
    """
    import torch

    with safe_open(source, framework="pt") as weights:
        header: dict[str, Any] = {"__metadata__": weights.metadata() or {"format": "pt"}}
    end = 0
    for tensor in kept:
        header[tensor.name.replace(_BASE, ".")] = tensor.entry | {"data_offsets": [end, end + tensor.size]}
        end += tensor.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with out.open("xb") as file, source.open("rb") as origin:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in kept:
            if adapter := adapters.get(tensor.name):
                file.write(adapter.merged(alpha).contiguous().view(torch.uint8).numpy().data)
            else:
                _copy(origin, file, tensor)


def _copy(origin: IO[bytes], file: IO[bytes], tensor: _Tensor) -> None:
    origin.seek(tensor.start)
    for done in range(0, tensor.size, _CHUNK):
        file.write(origin.read(min(_CHUNK, tensor.size - done)))


def _write_index(source: Path, out: Path, size: int) -> None:
    index = read_json(source)
    index["weight_map"] = {
        name.replace(_BASE, "."): file for name, file in index["weight_map"].items() if not _FACTOR.fullmatch(name)
    }
    index["metadata"] = index.get("metadata", {}) | {"total_size": size}
    json_files.write(out, index)
