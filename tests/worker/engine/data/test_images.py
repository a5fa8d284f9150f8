from __future__ import annotations

import torch

from tests.worker.conftest import CPU, Lab
from worker.engine.data import images, parts


def test_batches_hold_the_rows_that_were_asked_for(lab: Lab) -> None:
    part = parts.open_part(lab.part("train", rows=(0, 20)))
    source = images.place(part, device=CPU)
    everything = torch.from_numpy(part.images.copy())
    index = torch.tensor([7, 0, 7, 19])
    assert torch.equal(source.take(index), everything[index])
    assert torch.equal(source.span(3, 9), everything[3:9])


def test_a_part_held_on_the_device_gives_the_same_batches(lab: Lab) -> None:
    part = parts.open_part(lab.part("train", rows=(0, 20)))
    mapped = images.place(part, device=CPU)
    held = images.Images(part=part, device=CPU, resident=torch.from_numpy(part.images.copy()))
    index = torch.tensor([4, 2])
    assert torch.equal(held.take(index), mapped.take(index))
    assert torch.equal(held.span(1, 5), mapped.span(1, 5))
