from __future__ import annotations

import pytest
import torch

from stillhouse.errors import InputRejected
from tests.worker.conftest import CPU
from worker.engine import device


def test_a_gpu_that_is_not_there_is_refused_and_auto_takes_the_cpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert device.choose("auto") == device.choose("cpu") == CPU
    with pytest.raises(InputRejected) as refused:
        device.choose("cuda")
    assert refused.value.rejected_code == "device_not_available"


@pytest.mark.parametrize(
    ("precision", "deterministic", "expected"),
    [
        ("fp32", False, torch.float32),
        ("bf16", False, torch.bfloat16),
        ("bf16", True, torch.float32),
        ("auto", False, torch.float32),
    ],
)
def test_a_forward_has_the_precision_asked_for(
    precision: device.Precision,
    deterministic: bool,  # noqa: FBT001 - a parameter of the tests
    expected: torch.dtype,
) -> None:
    layer = torch.nn.Linear(2, 2)
    with device.autocast(precision, device=CPU, deterministic=deterministic):
        assert layer(torch.zeros(1, 2)).dtype == expected


def test_memory_that_runs_out_is_known_by_every_name_it_has() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**60)
    assert device.is_out_of_memory(failed.value)
    assert device.is_out_of_memory(MemoryError())
    assert not device.is_out_of_memory(RuntimeError("shapes differ"))
