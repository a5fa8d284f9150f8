"""What a user is told before a student is trained: it works, and may not be what they want."""

from __future__ import annotations

import re

from stillhouse.spec import (
    AttentionMaps,
    NetworkSpec,
    ParameterRatio,
    RandomInit,
    StudentSpec,
    methods,
)
from worker.engine import recipe, tie
from worker.engine.course import Course
from worker.engine.recorded import Recorded


def of_course(course: Course, student: StudentSpec) -> list[dict[str, str]]:
    """Look at a course of the distilled arm.

    Args:
        course: The course.
        student: Its student.

    Returns:
        [{code, message}], with the codes `attention_across_families`,
        `accumulation_not_equivalent`, `outputs_of_plain_items` and `pull_from_random`.
    """
    terms = [term for term in course.terms if term.weight > 0]
    inside = course.panel.inside if course.panel else None
    found: list[dict[str, str]] = []
    if any(isinstance(term, AttentionMaps) for term in terms) and inside is not None:
        names = recipe.network(student), inside.spec
        if _family(names[0]) != _family(names[1]):
            message = (
                f"'attention_maps' between the families of '{names[1].name}' and "
                f"'{names[0].name}': across families it lost 0.80 points on average against the "
                "student alone (CIFAR-100, six pairs of arXiv:1910.10699)."
            )
            found.append({"code": "attention_across_families", "message": message})
    together = [term.kind for term in terms if methods.is_batch_dependent(term)]
    if together and course.recipe.accumulate > 1:
        message = (
            f"{', '.join(sorted(set(together)))} compare a batch's items with each other, and with "
            f"'accumulate' {course.recipe.accumulate} only those of one part: it isn't the "
            "objective of the whole batch."
        )
        found.append({"code": "accumulation_not_equivalent", "message": message})
    teachers = course.panel.teachers if course.panel else ()
    if course.recipe.augment and any(isinstance(one, Recorded) for one in teachers):
        message = (
            "The teacher's outputs are of the plain rows; the student sees augmented ones, for "
            "which the teacher might say something else."
        )
        found.append({"code": "outputs_of_plain_items", "message": message})
    is_pulled = any(isinstance(term, ParameterRatio) for term in terms)
    if is_pulled and isinstance(student.init, RandomInit):
        found.append({"code": "pull_from_random", "message": tie.PULL_FROM_RANDOM})
    return found


def _family(spec: NetworkSpec) -> str:
    """The letters that a name begins with: resnet8x4 is a resnet."""
    letters = re.match(r"[a-z]*", spec.name.lower())
    return letters.group() if letters else ""
