"""`stillhouse push`: a teacher or a dataset goes in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from stillhouse import errors
from stillhouse.cli import columns, flags, inputs, terminal
from stillhouse.cli.terminal import AsJson
from stillhouse.client import Client

app = typer.Typer(no_args_is_help=True, help="Upload a teacher or a dataset.")

_OF_A_FOLDER = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "model.safetensors.index.json",
)  # fmt: skip

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is ready.")]
Name = Annotated[str | None, typer.Option(help="Default: the file's name.")]
Size = Annotated[str | None, typer.Option("--input", help="Height x width, as 32x32.")]
Gray = Annotated[bool | None, typer.Option("--gray/--rgb", help="The images' channels.")]
Mean = Annotated[list[float] | None, typer.Option(help="A channel's mean, 0 to 1; repeat.")]
Std = Annotated[list[float] | None, typer.Option(help="A channel's deviation; repeat.")]
Classes = Annotated[str | None, typer.Option(help="a,b,c in output order, or @file.")]
TrainedOn = Annotated[
    str | None, typer.Option(help="ds_…:train, or disjoint: the proof depends on it.")
]


@app.command()
def teacher(
    file: Annotated[Path, typer.Argument(exists=True, help="A checkpoint, or a Hub folder.")],
    *,
    network: Annotated[
        str | None, typer.Option(help="As timm/resnet18; a Hub folder says it itself.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="For its constructor, as in_chans=1; repeat.")
    ] = None,
    size: Size = None,
    gray: Gray = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    trained_on: TrainedOn = None,
    name: Name = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Upload a teacher: a network and its weights."""
    if network is None and not file.is_dir():
        raise typer.BadParameter("A checkpoint doesn't say its architecture: add --network.")
    if option and network is None:
        raise typer.BadParameter("--option needs --network.")
    spec: dict[str, Any] = {"name": flags.object_name(name, file)} | flags.present(
        network=None
        if network is None
        else flags.network(network) | {"options": flags.options(option or [])},
        input=flags.image_input(size, gray=gray, mean=mean or (), std=std or ()),
        classes=None if classes is None else flags.classes(classes),
        trained_on=None if trained_on is None else flags.trained_on(trained_on),
    )
    with terminal.client() as client:
        spec["weights"] = _upload_weights(client, file)
        created = client.create_teacher(spec)
        _finish(client, created, wait=wait, as_json=as_json)


@app.command()
def outputs(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="npz with outputs, and maybe ids.")
    ],
    *,
    dataset: Annotated[str, typer.Option(help="ds_…, whose rows they are about.")],
    kind: Annotated[str, typer.Option(help="logits, probabilities or labels.")],
    classes: Classes = None,
    trained_on: TrainedOn = None,
    name: Name = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Upload a teacher that is known by its outputs alone, of any framework."""
    spec: dict[str, Any] = {
        "name": flags.object_name(name, file),
        "network": {"family": "outputs"},
    } | flags.present(
        classes=None if classes is None else flags.classes(classes),
        trained_on=None if trained_on is None else flags.trained_on(trained_on),
    )
    with terminal.client() as client:
        spec["outputs"] = {"dataset": dataset, "kind": kind, "blob": _upload(client, file)}
        created = client.create_teacher(spec)
        _finish(client, created, wait=wait, as_json=as_json)


@app.command()
def dataset(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="npz, zip, tar, parquet, csv or jsonl."),
    ],
    *,
    name: Name = None,
    kind: Annotated[
        str | None, typer.Option("--format", help="Default: seen from the bytes.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="image, text, tabular or sequence. Default: image.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--columns",
            "--image",
            help="The input's column, or columns: a,b,c, 'px*'. Default: image, text, or all.",
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="The label column. Default: label.")] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="There is no label: for a job's --transfer.")
    ] = False,
    identity: Annotated[
        str | None, typer.Option("--id", help="A column that names each row, for outputs.")
    ] = None,
    size: Size = None,
    gray: Gray = None,
    validation: Annotated[float | None, typer.Option(help="Its share. Default: 0.1.")] = None,
    test: Annotated[float | None, typer.Option(help="Its share. Default: 0.2.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the split. Default: 0.")] = None,
    split_column: Annotated[str | None, typer.Option(help="A column that says the part.")] = None,
    classes: Classes = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Upload a dataset; it is examined, decoded and split once."""
    if unlabelled and label is not None:
        raise typer.BadParameter("--unlabelled and --label exclude each other.")
    others = [label or "label", split_column or "", identity or ""]
    pixels = image and columns.named(image, file, kind=kind, others=others)
    named = flags.present(input=pixels, label=label, id=identity)
    named |= {"label": None} if unlabelled else {}
    splits = flags.present(validation=validation, test=test, seed=seed, column=split_column)
    spec: dict[str, Any] = {"name": flags.object_name(name, file)} | flags.present(
        format=kind,
        modality=modality,
        columns=named or None,
        splits=splits or None,
        input=flags.image_input(size, gray=gray, mean=(), std=()),
        classes=None if classes is None else flags.classes(classes),
    )
    with terminal.client() as client:
        spec["source"] = {"blob": _upload(client, file)}
        created = client.create_dataset(spec)
        _finish(client, created, wait=wait, as_json=as_json)


def _upload(client: Client, file: Path) -> str:
    with terminal.bytes_bar(f"uploading {file.name}") as progress:
        return client.put_blob(file, progress=progress)


def _upload_weights(client: Client, path: Path) -> dict[str, Any]:
    if not path.is_dir():
        return {"blob": _upload(client, path)}
    files = [path / name for name in _OF_A_FOLDER if (path / name).is_file()]
    files += sorted(path.glob("*.safetensors"))
    if not any(file.suffix == ".safetensors" for file in files):
        files += sorted(path.glob("*.bin"))
    if not files:
        raise typer.BadParameter(f"'{path}' holds no config.json and no weights.")
    return {"files": {file.name: _upload(client, file) for file in files}}


def _finish(client: Client, created: Mapping[str, Any], *, wait: bool, as_json: bool) -> None:
    if wait:
        terminal.say(f"{created['id']} is being examined")
        created = _examined(client, created["id"], as_json=as_json)
    if as_json:
        terminal.show(created)
        return
    typer.echo(created["id"])
    terminal.say(_summary(created))


def _examined(client: Client, identifier: str, *, as_json: bool) -> Mapping[str, Any]:
    seen: list[Mapping[str, Any]] = []
    try:
        return client.wait_ready(identifier, progress=seen.append)
    except errors.InputRejected:
        if as_json:
            terminal.show(seen[-1])
        raise


def _summary(created: Mapping[str, Any]) -> str:
    if created["status"] != "ready":
        return f"{created['name']}: {created['status']}"
    if created["object"] == "teacher":
        parameters = created["parameters"]
        what = "known by its outputs" if parameters is None else f"{parameters:,} parameters"
        return f"{created['name']}: ready, {what}"
    return f"{created['name']}: ready, {inputs.rows(created['rows'])}"
