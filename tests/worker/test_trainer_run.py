"""What a supervisor keeps of a trainer's output."""

from __future__ import annotations

from worker.trainer_run import LogBudget


def test_a_log_is_kept_up_to_its_budget_and_the_cut_is_said_once() -> None:
    budget = LogBudget(left=10)
    assert budget.take("abcdef") == "abcdef"
    cut = budget.take("ghijKLM")
    assert cut.startswith("ghij\n[")
    assert "KLM" not in cut
    assert budget.take("more") == ""
