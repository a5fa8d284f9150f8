"""Terms of both sides' activations."""

from __future__ import annotations

from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AttentionMaps, FeatureHint, Relations, Similarity
from worker.engine.batch import Batch
from worker.engine.losses import attention_maps, feature_hint, relations, similarity
from worker.engine.terms import layers, projectors
from worker.engine.terms.layers import Layer
from worker.engine.terms.setting import Setting
from worker.engine.terms.term import Term


class PairedTerm(Term):
    """A term that reads pairs of layers."""

    def __init__(self, pairs: list[tuple[Layer, Layer]]) -> None:
        super().__init__()
        self.pairs = pairs
        self.student_layers = tuple(student.name for student, _ in pairs)
        self.teacher_layers = tuple(teacher.name for _, teacher in pairs)

    def read(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """Each pair's activations (batch, channels, *positions), the student's first."""
        return [
            (student.read(batch.features), teacher.read(batch.told.features))
            for student, teacher in self.pairs
        ]


class HintTerm(PairedTerm):
    """Distance to the teacher's activation, through a projector."""

    def __init__(self, spec: FeatureHint, pair: tuple[Layer, Layer]) -> None:
        super().__init__([pair])
        self.distance = spec.distance
        student, teacher = pair
        self.projector: nn.Module = nn.Identity()
        if spec.projector == "linear":
            axes = projectors.positions(student.shape, teacher.shape)
            self.min_items = 2
            self.projector = projectors.linear(student.channels, teacher.channels, positions=axes)

    def forward(self, batch: Batch) -> Tensor:
        """The distance, averaged over items and positions."""
        student, teacher = projectors.align(*self.read(batch)[0])
        return feature_hint.loss(self.projector(student), teacher, distance=self.distance)


class AttentionTerm(PairedTerm):
    """Distance between normalised sums of squared activations."""

    def forward(self, batch: Batch) -> Tensor:
        """The distance, summed over the pairs."""
        pairs = [
            pair if pair[0].ndim == pair[1].ndim else (pair[0].flatten(2), pair[1].flatten(2))
            for pair in self.read(batch)
        ]
        return attention_maps.loss(pairs)


class SimilarityTerm(PairedTerm):
    """Distance between the similarities of a batch's items."""

    def forward(self, batch: Batch) -> Tensor:
        """The distance of both sides' matrices."""
        student, teacher = self.read(batch)[0]
        return similarity.loss(student.flatten(1), teacher.flatten(1))


class RelationsTerm(PairedTerm):
    """Distance between the distances and angles of a batch's items."""

    def __init__(self, spec: Relations, pair: tuple[Layer, Layer]) -> None:
        super().__init__([pair])
        self.spec = spec

    def forward(self, batch: Batch) -> Tensor:
        """The weighted sum of both parts."""
        student, teacher = self.read(batch)[0]
        return relations.loss(
            student.flatten(1),
            teacher.flatten(1),
            distance=self.spec.distance,
            angle=self.spec.angle,
        )


def hint(spec: FeatureHint, setting: Setting, *, field: str) -> HintTerm:
    """A feature hint.

    Layers that aren't there are refused as in `layers.pair`.

    Args:
        spec: The term.
        setting: The run.
        field: Where the term stands.

    Returns:
        The term's module.

    Raises:
        InputRejected: `widths_differ`.
    """
    chosen = spec.layer if spec.layer == "auto" else (spec.layer,)
    place = f"{field}.layer"
    (found,) = layers.pair(chosen, setting, default="middle", field=place)
    student, teacher = found
    if spec.projector == "none" and student.channels != teacher.channels:
        raise InputRejected(
            "widths_differ",
            f"The student's '{student.name}' is {student.channels} wide, the teacher's "
            f"'{teacher.name}' {teacher.channels}; set 'projector' to 'linear', or name layers of "
            "one width.",
            field=f"{field}.projector",
        )
    return HintTerm(spec, found)


def attention(spec: AttentionMaps, setting: Setting, *, field: str) -> AttentionTerm:
    """Attention maps.

    Layers that aren't there are refused as in `layers.pair`.

    Args:
        spec: The term.
        setting: The run.
        field: Where the term stands.

    Returns:
        The term's module.

    Raises:
        InputRejected: `needs_stage_maps`: an activation has no positions.
    """
    place = f"{field}.layers"
    pairs = layers.pair(spec.layers, setting, default="stages", field=place)
    for layer in (one for pair in pairs for one in pair):
        if len(layer.shape) < 2:
            raise InputRejected(
                "needs_stage_maps",
                f"'{layer.name}' puts out a vector for each item; attention maps need a layer "
                "with positions.",
                field=place,
            )
    return AttentionTerm(pairs)


def alike(spec: Similarity, setting: Setting, *, field: str) -> SimilarityTerm:
    """Similarity of a batch's items, from the last stage on; any two layers will do."""
    chosen = spec.layer if spec.layer == "auto" else (spec.layer,)
    return SimilarityTerm(layers.pair(chosen, setting, default="last", field=f"{field}.layer"))


def related(spec: Relations, setting: Setting, *, field: str) -> RelationsTerm:
    """Relations between a batch's items, in the embedding; any two layers will do."""
    chosen = spec.layer if spec.layer == "auto" else (spec.layer,)
    (found,) = layers.pair(chosen, setting, default="embedding", field=f"{field}.layer")
    return RelationsTerm(spec, found)
