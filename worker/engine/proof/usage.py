"""How a student is used, in code that needs nothing of ours: a section of its card."""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.spec import (
    AnyInput,
    CategoryColumn,
    InputSpec,
    NetworkSpec,
    SequenceInput,
    TableInput,
    TextInput,
)
from worker.engine.serving import builtin_export, timm_config


def section(network: NetworkSpec, fed: AnyInput, *, classes: int) -> str:
    """The section as Markdown.

    Args:
        network: The student's architecture.
        fed: What it is fed.
        classes: Its outputs.

    Returns:
        A heading, a block of code, and what the code leaves open.
    """
    match fed:
        case InputSpec():
            code, notes = _of_images(network, fed, classes=classes)
        case SequenceInput():
            code, notes = _of_series(fed, classes=classes)
        case TableInput():
            code, notes = _of_tables(fed, classes=classes)
        case TextInput():
            code, notes = _of_texts(fed, classes=classes)
    names = "The names of the classes are in `config.json`, in the order of the logits."
    return "\n".join(["## Use", "", "```python", *code, "```", "", *notes, names])


def _of_images(
    network: NetworkSpec, fed: InputSpec, *, classes: int
) -> tuple[list[str], list[str]]:
    channels, (height, width) = fed.channel_count, fed.size
    load = _timm_code(network, fed, classes=classes) if network.family == "timm" else _program()
    mean, std = _statistics(fed.mean, fed.std, channels=channels)
    code = [
        *load,
        f"mean = torch.tensor({mean}).view(1, -1, 1, 1)",
        f"std = torch.tensor({std}).view(1, -1, 1, 1)",
        f"# images: float32 in [0, 1], (batch, {channels}, {height}, {width})",
        f"logits = model((images - mean) / std)  # (batch, {classes})",
    ]
    how = f"{fed.interpolation}, smoothed"
    return code, [f"Images of another size are resized to {height} x {width}: {how}."]


def _of_series(fed: SequenceInput, *, classes: int) -> tuple[list[str], list[str]]:
    mean, std = _statistics(fed.mean, fed.std, channels=fed.channels)
    code = [
        *_program(),
        f"mean = torch.tensor({mean}).view(1, -1, 1)",
        f"std = torch.tensor({std}).view(1, -1, 1)",
        f"# series: float32, (batch, {fed.channels}, {fed.length})",
        f"logits = model((series - mean) / std)  # (batch, {classes})",
    ]
    return code, []


def _of_tables(fed: TableInput, *, classes: int) -> tuple[list[str], list[str]]:
    code = [
        *_program(),
        f"# rows: float32, (batch, {len(fed.columns)}), raw: the network standardises by itself",
        f"logits = model(rows)  # (batch, {classes})",
    ]
    named = ", ".join(f"`{column.name}`" for column in fed.columns[:20])
    more = "" if len(fed.columns) <= 20 else ", …"
    notes = [f"Columns, in this order: {named}{more}. A missing number is NaN."]
    if any(isinstance(column, CategoryColumn) for column in fed.columns):
        notes.append(
            "A category is its place among the column's values in `config.json`, from 0; a missing "
            "or unknown one is -1."
        )
    return code, [" ".join(notes)]


def _of_texts(fed: TextInput, *, classes: int) -> tuple[list[str], list[str]]:
    code = [
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained(".")  # in this folder',
        'model = AutoModelForSequenceClassification.from_pretrained(".").eval()',
        "tokens = tokenizer(",
        f"    texts, padding=True, truncation=True, max_length={fed.max_length},",
        '    return_tensors="pt",',
        ")",
        f"logits = model(**tokens).logits  # (batch, {classes})",
    ]
    return code, [f"Longer texts are cut after {fed.max_length} tokens."]


def _statistics(
    mean: Sequence[float] | None, std: Sequence[float] | None, *, channels: int
) -> tuple[list[float], list[float]]:
    return (
        timm_config.expand(tuple(mean or ()), channels=channels, default=0.0),
        timm_config.expand(tuple(std or ()), channels=channels, default=1.0),
    )


def _timm_code(network: NetworkSpec, fed: InputSpec, *, classes: int) -> list[str]:
    options = {
        name: value
        for name, value in network.options.items()
        if name not in ("num_classes", "in_chans")
    }
    arguments = {"num_classes": classes, "in_chans": fed.channel_count, **options}
    written = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return [
        "import timm, torch",
        "",
        'model = timm.create_model("local-dir:.", pretrained=True).eval()  # in this folder',
        "",
        "# or, with the weights loaded by hand:",
        "# from safetensors.torch import load_file",
        f'# model = timm.create_model("{network.name}", {written}).eval()',
        '# model.load_state_dict(load_file("model.safetensors"))',
        "",
    ]


def _program() -> list[str]:
    return [
        "import torch",
        "",
        f'model = torch.export.load("{builtin_export.PROGRAM}").module()  # in this folder',
        "",
    ]
