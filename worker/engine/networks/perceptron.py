"""A multilayer perceptron on flattened images or series, or on a table's columns."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class Perceptron(nn.Module):
    """Linear layers with ReLU and dropout between them."""

    def __init__(
        self,
        *,
        inputs: int,
        hidden: tuple[int, ...],
        classes: int,
        dropout: float,
        first: nn.Module | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, after in pairwise((inputs, *hidden)):
            layers += [nn.Linear(width, after), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(nn.Flatten() if first is None else first, *layers)
        self.head = nn.Linear((inputs, *hidden)[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) from a batch of inputs."""
        return self.head(self.body(x))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped
