from __future__ import annotations

from worker.engine import seeds


def test_a_derived_seed_depends_on_seed_purpose_and_number() -> None:
    first = seeds.derive(0, "step", 1)
    assert first == seeds.derive(0, "step", 1)
    others = {seeds.derive(1, "step", 1), seeds.derive(0, "weights", 1), seeds.derive(0, "step", 2)}
    assert len(others | {first}) == 4


def test_a_derived_seed_is_one_that_torch_takes() -> None:
    assert all(0 <= seeds.derive(seed, "step") < 2**63 for seed in range(1000))
