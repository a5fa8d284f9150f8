"""Checkpoints: a safetensors file or a PyTorch state dict, as tensors that are whole and finite."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import torch
from safetensors import SafetensorError, safe_open

from stillhouse.errors import InputRejected
from worker.intake import archive, headers, hub, opcodes, sniff, zips
from worker.protocol import IntakeLimits

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel's, torch.compile's
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_OTHERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_INSTEAD = "save a state dict with safetensors.torch.save_file or torch.save(model.state_dict())"


def read(path: Path, limits: IntakeLimits) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name: dense, finite, on the CPU, sharing no memory.

    Floating-point tensors become float32 (half precision loses nothing by it, and every
    figure is computed in float32); integers and booleans stay. Prefixes that training
    wrappers leave are dropped. What is of another format, or malformed in any way, is
    refused as `InputRejected`.
    """
    kind = sniff.kind_of(path)
    if kind == "safetensors":
        found = _read_safetensors(path)
    elif kind == "zip":
        found = _unwrap(_read_torch_zip(path))
    else:
        raise _unsupported(_DESCRIPTIONS.get(kind, "neither safetensors nor a PyTorch checkpoint"))
    _check_backing(found, limits)
    return {name: _whole(name, tensor) for name, tensor in _without_prefixes(found).items()}


def read_shards(
    index: Path, shards: Mapping[str, Path], limits: IntakeLimits
) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint in several safetensors files, as `read` gives them.

    Args:
        index: `model.safetensors.index.json`, whose `weight_map` says where each tensor lies.
        shards: Files by their names.
        limits: `decoded_bytes` bounds the sum over all of them.

    Returns:
        The tensors by name.

    Raises:
        InputRejected: `files_missing`, `safetensors_invalid`, or what `read` refuses.
    """
    try:
        places = hub.parse(index)["weight_map"]
    except (ValueError, KeyError):
        _bad_index("has no 'weight_map'")
    if not isinstance(places, dict) or not all(isinstance(at, str) for at in places.values()):
        _bad_index("has a 'weight_map' that names no files")
    missing = sorted(set(places.values()) - set(shards))
    if missing:
        raise InputRejected(
            "files_missing",
            f"The checkpoint's index names {missing[0][:100]!r}, which isn't there; send every "
            "file that it names.",
            field="weights",
        )
    found: dict[str, torch.Tensor] = {}
    for name in sorted(set(places.values())):
        here = _read_safetensors(shards[name])
        if here.keys() != {tensor for tensor, place in places.items() if place == name}:
            _bad_index(f"doesn't list what {name[:100]!r} holds")
        found |= here
    _check_backing(found, limits)
    return {name: _whole(name, tensor) for name, tensor in _without_prefixes(found).items()}


def _bad_index(what: str) -> NoReturn:
    raise InputRejected(
        "safetensors_invalid",
        f"The index of the checkpoint's files {what}; save the model again.",
        field="weights",
    )


_DESCRIPTIONS: dict[sniff.Kind, str] = {
    "pickle": "a bare pickle, which can run code",
    "tar": "a legacy tar checkpoint",
    "hdf5": "HDF5, as Keras writes it",
    "empty": "empty",
    "parquet": "a parquet table",
}


def _unsupported(what: str) -> InputRejected:
    return InputRejected("format_not_supported", f"The file is {what}; {_INSTEAD}.")


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    names = headers.check(path).shapes
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise InputRejected(
            "safetensors_invalid", f"The safetensors file can't be read ({error}); write it again."
        ) from error


def _read_torch_zip(path: Path) -> object:
    contents = zips.read_directory(path)
    entries = {entry.name: entry for entry in contents.entries}
    _check_names(set(entries))
    deflated = next((name for name, entry in entries.items() if entry.deflated), None)
    if deflated is not None:
        raise InputRejected(
            "compressed_entry", f"'{deflated}' is compressed, as torch.save never does; {_INSTEAD}."
        )
    root = contents.entries[0].name.partition("/")[0]
    opcodes.check(archive.read(contents, entries[f"{root}/data.pkl"]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It warns of protocols other than 2, then goes on.
            return torch.load(  # noqa: TID251  # checked above, in the sandbox
                path, map_location="cpu", weights_only=True, mmap=False
            )
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError,
            pickle.UnpicklingError, IndexError, AssertionError) as error:  # fmt: skip
        raise InputRejected(
            "pickle_invalid", f"PyTorch can't read the checkpoint; {_INSTEAD}."
        ) from error


def _check_names(names: set[str]) -> None:
    """Only what torch.save writes passes: one folder, with data.pkl and the storages."""
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise _unsupported("TorchScript, which runs code")
    if inner & {"archive_format", "archive_version"} or any(
        name.startswith(("models/", "data/aotinductor/", "data/weights/")) for name in inner
    ):
        raise _unsupported("a .pt2 export, which can run code")
    if any(name.endswith(".h5") for name in names):
        raise _unsupported("a Keras archive")
    roots = {name.partition("/")[0] for name in names}
    if len(roots) != 1 or "data.pkl" not in inner:
        raise _unsupported("a zip archive that torch.save didn't write")


def _unwrap(loaded: object) -> dict[str, torch.Tensor]:
    for candidate in (loaded, *(_under(loaded, key) for key in WRAPPERS)):
        tensors = _as_tensors(candidate)
        if tensors is not None:
            return tensors
    raise InputRejected(
        "state_dict_missing",
        "The checkpoint holds no mapping of names to tensors, at its top or under "
        f"{', '.join(WRAPPERS)}; {_INSTEAD}.",
    )


def _under(loaded: object, key: str) -> object:
    return loaded.get(key) if isinstance(loaded, Mapping) else None


def _as_tensors(candidate: object) -> dict[str, torch.Tensor] | None:
    if not isinstance(candidate, Mapping) or not candidate:
        return None
    tensors = {
        name: tensor
        for name, tensor in candidate.items()
        if isinstance(name, str) and isinstance(tensor, torch.Tensor)
    }
    return tensors if len(tensors) == len(candidate) else None


def _without_prefixes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for prefix in PREFIXES * 2:  # they nest, in either order
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _check_backing(tensors: dict[str, torch.Tensor], limits: IntakeLimits) -> None:
    """Refuse tensors that claim more than the file holds, before anything is copied."""
    if len(tensors) > headers.MAX_TENSORS:
        raise InputRejected(
            "limit_exceeded",
            f"The checkpoint has {len(tensors)} tensors; at most {headers.MAX_TENSORS} pass.",
        )
    for name, tensor in tensors.items():
        _check_one(name, tensor)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if total > limits["decoded_bytes"]:
        raise InputRejected(
            "limit_exceeded",
            f"The tensors take {total} bytes; {limits['decoded_bytes']} are allowed.",
        )


def _check_one(name: str, tensor: torch.Tensor) -> None:
    shown = repr(name[:100])
    if tensor.layout != torch.strided:
        raise InputRejected("sparse_denied", f"{shown} is sparse; save it dense.")
    if tensor.dtype not in (*_FLOATS, *_OTHERS):
        raise InputRejected("dtype_not_supported", f"{shown} is {tensor.dtype}; save it as float.")
    repeats = any(
        stride == 0 and length > 1
        for stride, length in zip(tensor.stride(), tensor.shape, strict=True)
    )
    claimed = tensor.numel() * tensor.element_size()
    if tensor.device.type != "cpu" or repeats or claimed > tensor.untyped_storage().nbytes():
        raise InputRejected(
            "tensor_not_backed",
            f"{shown} claims {claimed} bytes that the file doesn't hold; save it with "
            "tensor.contiguous().",
            tensors={"unbacked": [name[:256]]},
        )


def _whole(name: str, tensor: torch.Tensor) -> torch.Tensor:
    dtype = torch.float32 if tensor.dtype in _FLOATS else tensor.dtype
    whole = tensor.detach().to(dtype, copy=True).contiguous()
    if not torch.isfinite(whole).all():
        raise InputRejected(
            "non_finite_weights",
            f"'{name[:100]}' holds NaN or infinities; take a checkpoint from before they came.",
            tensors={"non_finite": [name[:256]]},
        )
    return whole
