"""What a run may train on and choose by: the train and validation parts, never the test part."""

from __future__ import annotations

from stillhouse.errors import InputRejected
from worker.engine.data import parts
from worker.engine.data.parts import Part
from worker.engine.recipe import Recipe
from worker.protocol import DatasetFiles


def take(dataset: DatasetFiles, *, recipe: Recipe) -> dict[str, Part]:
    """Open the parts, and refuse those that can't be trained on or chosen by.

    Args:
        dataset: What a run is told of the dataset.
        recipe: The job's.

    Returns:
        `train` and `validation`.

    Raises:
        InputRejected: `too_few_rows`, `no_validation_rows` or `batch_larger_than_data`.
    """
    found = {
        name: parts.open_part(path)
        for name, path in dataset["parts"].items()
        if name in ("train", "validation")
    }
    rows = len(found["train"]) if "train" in found else 0
    if rows < 2:
        raise InputRejected(
            "too_few_rows",
            f"The train part has {rows} rows; training needs two or more.",
            field="dataset",
        )
    if "validation" not in found or len(found["validation"]) == 0:
        raise InputRejected(
            "no_validation_rows",
            "The validation part is empty, and the epoch is chosen on it; "
            "give the dataset one, or a larger fraction.",
            field="dataset",
        )
    if recipe.batch_size > rows:
        raise InputRejected(
            "batch_larger_than_data",
            f"batch_size is {recipe.batch_size}, the train part has {rows} rows; "
            f"take {rows} or less, or 'auto'.",
            field="training.batch_size",
        )
    return found
