from __future__ import annotations

import torch

from tests.worker.conftest import CPU, Lab
from worker.engine.data import parts, source


def test_batches_hold_the_rows_that_were_asked_for(lab: Lab) -> None:
    part = parts.open_part(lab.part("train", rows=(0, 20)))
    placed = source.place(part, device=CPU)
    everything = torch.from_numpy(part.x.copy())
    index = torch.tensor([7, 0, 7, 19])
    assert torch.equal(placed.take(index), everything[index])
    assert torch.equal(placed.span(3, 9), everything[3:9])


def test_a_part_held_on_the_device_gives_the_same_batches(lab: Lab) -> None:
    part = parts.open_part(lab.part("train", rows=(0, 20)))
    mapped = source.place(part, device=CPU)
    held = source.Source(
        part=part, items=part.x, device=CPU, resident=torch.from_numpy(part.x.copy())
    )
    index = torch.tensor([4, 2])
    assert torch.equal(held.take(index), mapped.take(index))
    assert torch.equal(held.span(1, 5), mapped.span(1, 5))


def test_joined_sources_are_read_as_one(lab: Lab) -> None:
    found = [parts.open_part(lab.part(f"p{n}", rows=(n, n + 9))) for n in (0, 40)]
    mapped = [source.place(part, device=CPU) for part in found]
    held = [
        source.Source(part, part.x, CPU, resident=torch.from_numpy(part.x.copy())) for part in found
    ]
    everything = torch.cat([torch.from_numpy(part.x.copy()) for part in found])
    index = torch.tensor([17, 0, 8, 9, 17])
    for joined in (source.join(mapped), source.join(held)):
        assert len(joined) == 18
        assert torch.equal(joined.take(index), everything[index])
        assert torch.equal(joined.span(5, 14), everything[5:14])
    assert source.join(mapped[:1]) is mapped[0]
