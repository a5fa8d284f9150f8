"""State dicts as users have them, and what is sent instead of one."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from stillhouse.errors import InputRejected
from stillhouse.spec import InputSpec, NetworkSpec
from worker import sandbox
from worker.engine import networks
from worker.intake import checkpoints

OPTIONS = {"hidden": [6]}


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """The weights of a small network with 3 classes."""
    torch.manual_seed(0)
    spec = NetworkSpec(family="builtin", name="mlp", options={"hidden": [6]})
    return networks.build(spec, classes=3, fed=InputSpec(size=(4, 4), channels="gray")).state_dict()


def saved(value: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, **options)
    return content.getvalue()


def same(path: Path, state: dict[str, torch.Tensor]) -> bool:
    found = load_file(path)
    return found.keys() == state.keys() and all(torch.equal(found[k], state[k]) for k in state)


FORMS: dict[str, Callable[[dict[str, torch.Tensor]], bytes]] = {
    "safetensors": save,
    "a state dict": saved,
    "under state_dict": lambda state: saved({"state_dict": state, "epoch": 3, "best": 0.5}),
    "under model": lambda state: saved({"model": state, "optimizer": {"lr": [0.1]}}),
    "under model_state_dict": lambda state: saved({"model_state_dict": state}),
    "under net": lambda state: saved({"net": state, "acc": 91.2}),
    "of DataParallel": lambda state: saved({f"module.{k}": v for k, v in state.items()}),
    "compiled": lambda state: saved({f"_orig_mod.module.{k}": v for k, v in state.items()}),
    "of parameters": lambda state: saved({k: torch.nn.Parameter(v) for k, v in state.items()}),
    "in float64": lambda state: saved({k: v.double() for k, v in state.items()}),
    "with views": lambda state: saved(
        {k: torch.stack([v, v], -1)[..., 0] for k, v in state.items()}
    ),
    "with counters": lambda state: saved(state | {"n.num_batches_tracked": torch.tensor(3)}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_usual_form_gives_the_same_safetensors_file(
    form: str, intake: Any, state: dict[str, torch.Tensor]
) -> None:
    taken = intake.teacher(intake.write("a.bin", FORMS[form](state)))
    assert same(taken.files["model.safetensors"], state)
    assert taken.result["class_count"] == 3
    assert taken.result["network"]["options"] == OPTIONS | {"num_classes": 3, "in_chans": 1}


def test_half_precision_becomes_float32_of_the_same_values(
    intake: Any, state: dict[str, torch.Tensor]
) -> None:
    half = {name: tensor.bfloat16() for name, tensor in state.items()}
    taken = intake.teacher(intake.write("half.safetensors", save(half)))
    assert same(taken.files["model.safetensors"], {k: v.float() for k, v in half.items()})


class Canary:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_never_runs(
    protocol: int,
    zipped: bool,  # noqa: FBT001 - parametrized
    intake: Any,
    refused: Callable[..., Any],
) -> None:
    canary = intake.folder / "canary"
    value = {"state_dict": Canary(canary)}
    if zipped:
        content = saved(value, pickle_protocol=protocol)
    else:
        content = pickle.dumps(value, protocol=protocol)
    code = "pickle_global_denied" if zipped else "format_not_supported"
    refused(code, lambda: intake.teacher(intake.write("evil.pt", content)))
    assert not canary.exists()
    torch.load(io.BytesIO(content), weights_only=False) if zipped else pickle.loads(content)  # noqa: S301, TID251 - proves that the canary sings
    assert canary.exists()


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def repacked(value: Any, program: Callable[[bytes], bytes], compression: int = 0) -> bytes:
    """What torch saves, with another data.pkl."""
    with zipfile.ZipFile(io.BytesIO(saved(value))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return zipped(
        {k: program(v) if k.endswith("data.pkl") else v for k, v in files.items()}, compression
    )


def legacy_tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in ("pickle", "storages", "tensors"):
            tar.addfile(tarfile.TarInfo(name))
    return content.getvalue()


def overlong(shape: int) -> dict[str, torch.Tensor]:
    return {"w": torch.zeros(1).expand(shape)}


ONE = {"w": torch.ones(2)}
FOREIGN: dict[str, tuple[str, Callable[[], bytes]]] = {
    "an empty file": ("format_not_supported", lambda: b""),
    "text": ("format_not_supported", lambda: b"hello, world\n"),
    "a whole module": ("pickle_global_denied", lambda: saved(torch.nn.Linear(2, 2))),
    "a namespace": ("pickle_global_denied", lambda: saved(ONE | {"a": argparse.Namespace()})),
    "a sparse tensor": ("sparse_denied", lambda: saved({"w": torch.eye(2).to_sparse()})),
    "a meta tensor": ("pickle_global_denied", lambda: saved({"w": torch.ones(2, device="meta")})),
    "a complex tensor": (
        "pickle_global_denied",
        lambda: saved({"w": torch.ones(2, dtype=torch.complex64)}),
    ),
    "2^40 elements": ("tensor_not_backed", lambda: saved(overlong(2**40))),
    "a repeated element": ("tensor_not_backed", lambda: saved(overlong(3))),
    "a repeated element with room": (
        "tensor_not_backed",
        lambda: saved({"w": torch.zeros(3)[:1].expand(3)}),
    ),
    "elements that overlap": (
        "tensor_not_backed",
        lambda: saved({"w": torch.zeros(20).as_strided((10, 10), (1, 1))}),
    ),
    "no tensors": ("state_dict_missing", lambda: saved({"epoch": 3})),
    "a lone tensor": ("state_dict_missing", lambda: saved(torch.ones(3))),
    "numbers for names": ("state_dict_missing", lambda: saved({1: torch.ones(3)})),
    "an old checkpoint": (
        "format_not_supported",
        lambda: saved(ONE, _use_new_zipfile_serialization=False),
    ),
    "a tar": ("format_not_supported", legacy_tar),
    "TorchScript": (
        "format_not_supported",
        lambda: zipped({"m/data.pkl": b"", "m/constants.pkl": b"", "m/code/a.py": b""}),
    ),
    "a .pt2 export": (
        "format_not_supported",
        lambda: zipped({"m/archive_format": b"pt2", "m/models/a.json": b"", "m/data.pkl": b""}),
    ),
    "a Keras archive": (
        "format_not_supported",
        lambda: zipped({"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b""}),
    ),
    "HDF5": ("format_not_supported", lambda: b"\x89HDF\r\n\x1a\n" + bytes(100)),
    "any zip": ("format_not_supported", lambda: zipped({"a.txt": b"a"})),
    "two folders": ("format_not_supported", lambda: zipped({"a/data.pkl": b"", "b/data/0": b""})),
    "compressed entries": ("compressed_entry", lambda: repacked(ONE, bytes, zipfile.ZIP_DEFLATED)),
    "an extension code": (
        "pickle_global_denied",
        lambda: repacked(ONE, lambda _: b"\x80\x02\x82\x01."),
    ),
    "an instance opcode": (
        "pickle_global_denied",
        lambda: repacked(ONE, lambda _: b"(ios\nsystem\n."),
    ),
    "a deep pickle": (
        "pickle_invalid",
        lambda: repacked(ONE, lambda _: b"\x80\x02" + b"(" * 200_000 + b"."),
    ),
    "a huge integer": (
        "pickle_invalid",
        lambda: repacked(
            ONE, lambda _: b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + bytes(1 << 20) + b"."
        ),
    ),
    "an unknown opcode": ("pickle_invalid", lambda: repacked(ONE, lambda _: b"\x80\x02\xff.")),
    "no STOP": ("pickle_invalid", lambda: repacked(ONE, lambda p: p[:-1])),
    "a second pickle": ("pickle_invalid", lambda: repacked(ONE, lambda p: p + p)),
    "a decoder": (
        "pickle_global_denied",
        lambda: repacked(ONE, lambda _: b"\x80\x02c_codecs\nencode\n."),
    ),
    "an empty stack": ("pickle_invalid", lambda: repacked(ONE, lambda _: b"\x80\x02R.")),
    "a NaN": ("non_finite_weights", lambda: saved({"w": torch.tensor([1.0, float("nan")])})),
    "more than float32 holds": (
        "non_finite_weights",
        lambda: saved({"w": torch.tensor([1e300]).double() * 1e300}),
    ),
    "an infinity in safetensors": (
        "non_finite_weights",
        lambda: save({"w": torch.tensor([float("inf")])}),
    ),
    "a header without tensors": ("safetensors_invalid", lambda: struct.pack("<Q", 2) + b"{}"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_plain_state_dict_is_refused_by_name(
    name: str, intake: Any, refused: Callable[..., Any]
) -> None:
    code, make = FOREIGN[name]
    refused(code, lambda: checkpoints.read(intake.write("bad", make()), sandbox.LIMITS))


def test_tensors_that_share_memory_are_parted(intake: Any) -> None:
    tied = torch.ones(4)
    path = intake.write("tied.pt", saved({"a": tied, "b": tied, "c": tied[:2]}))
    found = checkpoints.read(path, sandbox.LIMITS)
    assert len({tensor.data_ptr() for tensor in found.values()}) == 3


def test_the_tensor_that_is_not_finite_is_named(intake: Any, refused: Callable[..., Any]) -> None:
    path = intake.write("nan", saved({"a": torch.ones(2), "b.bias": torch.tensor([torch.nan])}))
    found = refused("non_finite_weights", lambda: checkpoints.read(path, sandbox.LIMITS))
    assert "'b.bias'" in found.detail


def test_every_changed_byte_of_a_pickle_is_refused_or_harmless(intake: Any) -> None:
    small = {"w": torch.ones(2), "b": collections.OrderedDict()}
    with zipfile.ZipFile(io.BytesIO(saved(small))) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        program = archive.read(name)
    for position in range(len(program)):
        flipped = program[:position] + bytes([program[position] ^ 0x55]) + program[position + 1 :]
        path = intake.write("flipped.pt", repacked(small, {program: flipped}.__getitem__))
        try:
            found = checkpoints.read(path, sandbox.LIMITS)
        except InputRejected:
            continue
        assert all(torch.isfinite(tensor).all() for tensor in found.values())
