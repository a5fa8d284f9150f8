"""The device that a run computes on, and how exactly it computes there."""

from __future__ import annotations

import contextlib
import os
from typing import Literal

import torch

from stillhouse.errors import InputRejected

Precision = Literal["auto", "fp32", "bf16"]


def configure(*, threads: int, deterministic: bool) -> None:
    """Set this process up for one run.

    Sums on a CPU depend on how many threads share them: a deterministic run must be resumed
    with the thread count that it began with. TensorFloat-32 is always off, because its ten bits
    of mantissa would make `fp32` untrue. A GPU needs CUBLAS_WORKSPACE_CONFIG in the environment
    from the start for deterministic products.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    # Only of use to find reads of memory that nobody wrote, and each new tensor pays for it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module's class
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = not deterministic


def describe() -> dict[str, str | int]:
    """This machine's device: its kind, its name, its memory in bytes."""
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        return {"device": "cuda", "device_name": facts.name, "memory_bytes": facts.total_memory}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"device": "cpu", "device_name": "cpu", "memory_bytes": memory}


def choose(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one.

    Args:
        name: `auto`, `cpu` or `cuda`.

    Returns:
        The device.

    Raises:
        InputRejected: `device_not_available`.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputRejected(
            "device_not_available",
            "This worker has no GPU; set resources.device to 'auto' or 'cpu'.",
            field="resources.device",
        )
    return torch.device(name)


def seed(number: int, *, device: torch.device) -> None:
    """Seed what is random on the CPU and on `device`.

    `torch.manual_seed` does the same for every device there is, and formats a stack trace each
    time where no GPU was used yet: 0.8 ms a step.
    """
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


def autocast(
    precision: Precision, *, device: torch.device, deterministic: bool
) -> contextlib.AbstractContextManager[object]:
    """The context of a student's forward: bfloat16 where asked for, or where it is native."""
    if deterministic or not _is_bfloat16(precision, device=device):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def settle(precision: Precision, *, device: torch.device) -> Precision:
    """What "auto" is on this device, so that all runs of a job have the same."""
    return "bf16" if _is_bfloat16(precision, device=device) else "fp32"


def synchronize(device: torch.device) -> None:
    """Wait until everything that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:
    """Give back what the allocator keeps for later, once an error's tensors are gone."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was not enough; on a CPU torch says it in its allocator's words alone."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _is_bfloat16(precision: Precision, *, device: torch.device) -> bool:
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16"
