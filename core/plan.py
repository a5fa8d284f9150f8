"""What a job comes to: its resolved spec, and each variant's as what it differs in from that.

A sweep of 256 variants would be a megabyte of specs, and every look at the job would carry it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core import resolve
from core.inputs import Inputs
from core.tables import Job
from stillhouse.spec import JobSpec, ResolvedJob, pointers, variants
from stillhouse.spec.planned import TrainRun

Spec = dict[str, Any]
"""A `ResolvedJob` as JSON."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """One variant; a job without a sweep has a single one, without a name."""

    name: str | None
    changes: variants.Changes
    spec: Spec


def settle(spec: JobSpec, inputs: Inputs) -> tuple[Spec, list[Spec] | None]:
    """What a spec comes to, once its inputs are ready.

    Raises what `resolve.job` and `variants.expand` do.

    Args:
        spec: as sent.
        inputs: ready.

    Returns:
        A job's `resolved` and `variants`.
    """
    base = resolve.job(spec, inputs).model_dump(mode="json")
    if spec.sweep is None:
        return base, None
    found = [
        Resolved(each.name, each.changes, resolve.job(each.spec, inputs).model_dump(mode="json"))
        for each in variants.expand(spec)
    ]
    return base, _kept(base, found)


def expanded(resolved: Spec, kept: list[Spec] | None) -> list[Resolved]:
    """The variants of what `settle` found, whole."""
    if kept is None:
        # A version before this one may have written it: what it didn't know is at its default.
        whole = ResolvedJob.model_validate(resolved).model_dump(mode="json")
        return [Resolved(None, {}, whole)]
    base = resolved | {"sweep": None}
    return [
        Resolved(each["name"], each["changes"], pointers.patched(base, each["settled"]))
        for each in kept
    ]


def spec_of(job: Job, variant: str | None) -> Spec:
    """The resolved spec of a run; what all variants share is the first one's."""
    resolved = job.resolved or {}
    if not job.variants:
        return expanded(resolved, None)[0].spec
    kept = next((each for each in job.variants if each["name"] == variant), job.variants[0])
    return expanded(resolved, [kept])[0].spec


def prepare(job: Job, found: dict[str, Any], *, device: str) -> None:
    """Write what the prepare run has settled: precision, the kind of device, shrunk networks.

    Args:
        job: a settled job.
        found: the prepare run's result.
        device: the kind that it ran on. Arms are compared on one kind of device, and the same
            bytes come from one kind only.
    """

    def prepared(name: str | None, spec: Spec) -> Spec:
        return _prepared(spec, found, found.get("networks", {}).get(name or "", {}), device=device)

    before = expanded(job.resolved or {}, job.variants)
    base = prepared(None, job.resolved or {})
    after = [Resolved(one.name, one.changes, prepared(one.name, one.spec)) for one in before]
    job.resolved = base
    if job.variants:
        job.variants = _kept(base, after)


def steps(job: Job, runs: list[TrainRun], inputs: Inputs) -> int:
    """Optimizer steps of all training runs of a settled job, at most."""
    found = expanded(job.resolved or {}, job.variants)
    specs = {one.name: ResolvedJob.model_validate(one.spec) for one in found}
    shared = specs[found[0].name]
    return sum(
        resolve.steps(specs.get(run.variant, shared), inputs.train_rows, arm=run.arm)
        for run in runs
    )


def _prepared(spec: Spec, found: dict[str, Any], networks: dict[str, Any], *, device: str) -> Spec:
    training = dict(spec["training"])
    if training["precision"] == "auto":
        training["precision"] = found.get("precision", "fp32")
    return spec | {
        "training": training,
        "resources": spec["resources"] | {"device": device},
        "students": [
            student | {"network": networks[student["name"]], "shrink": None}
            if student["name"] in networks
            else student
            for student in spec["students"]
        ],
    }


def _kept(base: Spec, found: list[Resolved]) -> list[Spec]:
    plain = base | {"sweep": None}
    return [
        {
            "name": one.name,
            "changes": one.changes,
            "settled": pointers.difference(plain, one.spec),
        }
        for one in found
    ]
