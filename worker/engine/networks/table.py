"""Networks on tables: what is done to raw columns is the first module of each.

Means, deviations and missing values are handled inside, so that a served network, its export and
its loader take a table's rows as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stillhouse.spec import CategoryColumn, NumberColumn, TableInput

_DIMENSIONS = 8
"""Of a category's embedding in front of a perceptron."""


class Columns(nn.Module):
    """Raw rows as standardised numbers, which of them are missing, and category numbers."""

    numbers: Tensor
    categories: Tensor
    offsets: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, fed: TableInput) -> None:
        super().__init__()
        numeric = [(i, c) for i, c in enumerate(fed.columns) if isinstance(c, NumberColumn)]
        named = [(i, c) for i, c in enumerate(fed.columns) if isinstance(c, CategoryColumn)]
        self.number_count, self.category_count = len(numeric), len(named)
        # One slot more than values: what is missing, or was never seen in training.
        sizes = [len(column.values) + 1 for _, column in named]
        self.slots = sum(sizes)
        self._keep("numbers", [i for i, _ in numeric], torch.int64)
        self._keep("categories", [i for i, _ in named], torch.int64)
        self._keep("offsets", [sum(sizes[:i]) for i in range(len(sizes))], torch.int64)
        self._keep("mean", [column.mean for _, column in numeric], torch.float32)
        self._keep("std", [column.std for _, column in numeric], torch.float32)

    def _keep(self, name: str, values: list[int] | list[float], dtype: torch.dtype) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=dtype))

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What a row says.

        Args:
            rows: (batch, columns) float32; a missing number is NaN, a missing category -1.

        Returns:
            Numbers (batch, numbers), the mean where missing and at most 10 deviations from it;
            missing (batch, numbers), 1 where one is; slots (batch, categories) int64, of one table
            for all columns.
        """
        raw = rows.index_select(1, self.numbers)
        missing = raw.isnan()
        scaled = ((raw - self.mean) / self.std).masked_fill(missing, 0.0).clamp(-10, 10)
        slots = rows.index_select(1, self.categories).to(torch.int64) + 1 + self.offsets
        return scaled, missing.to(rows.dtype), slots


class FlatColumns(nn.Module):
    """A row as one vector: numbers, missing indicators, and an embedding for each category."""

    def __init__(self, fed: TableInput) -> None:
        super().__init__()
        self.columns = Columns(fed)
        self.embedding = nn.Embedding(max(self.columns.slots, 1), _DIMENSIONS)
        self.width = 2 * self.columns.number_count + _DIMENSIONS * self.columns.category_count

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, width) from (batch, columns)."""
        numbers, missing, slots = self.columns(rows)
        return torch.cat([numbers, missing, self.embedding(slots).flatten(1)], dim=1)


class TabularTransformer(nn.Module):
    """Every column a token, a transformer over the tokens of a row.

    The FT-Transformer of Gorishniy et al. 2021, arXiv:2106.11959: normalisation first, a class
    token, and GELU instead of its gated unit.
    """

    def __init__(
        self, fed: TableInput, *, dim: int, depth: int, heads: int, dropout: float, classes: int
    ) -> None:
        super().__init__()
        self.columns = Columns(fed)
        count = self.columns.number_count
        self.weight = nn.Parameter(torch.randn(count, dim) * dim**-0.5)
        self.bias = nn.Parameter(torch.randn(count, dim) * dim**-0.5)
        self.missing = nn.Parameter(torch.randn(count, dim) * dim**-0.5)
        self.embedding = nn.Embedding(max(self.columns.slots, 1), dim)
        self.token = nn.Parameter(torch.randn(1, 1, dim) * dim**-0.5)
        layer = nn.TransformerEncoderLayer(
            dim, heads, 2 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, rows: Tensor) -> Tensor:
        """Logits (batch, classes) from (batch, columns)."""
        numbers, missing, slots = self.columns(rows)
        tokens = numbers.unsqueeze(2) * self.weight + self.bias
        tokens = tokens + missing.unsqueeze(2) * self.missing
        first = self.token.expand(rows.shape[0], -1, -1)
        read = self.layers(torch.cat([first, tokens, self.embedding(slots)], dim=1))
        return self.head(self.norm(read[:, 0]))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped
