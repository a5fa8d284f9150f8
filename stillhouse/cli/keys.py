"""The commands about keys: create, list, revoke. They take a key with the scope admin."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from stillhouse.cli import flags, terminal
from stillhouse.cli.terminal import AsJson, AtMost

app = typer.Typer(help="Make, list and revoke the keys of a service.", no_args_is_help=True)


class Scope(StrEnum):
    """What a key may do; each implies those before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


@app.command()
def create(
    *,
    name: Annotated[str | None, typer.Option(help="Whose it is, or what for.")] = None,
    scope: Annotated[
        Scope, typer.Option(help="What it may do; each implies those before it.")
    ] = Scope.SUBMIT,
    tenant: Annotated[
        str | None, typer.Option(help="Whose objects it sees. Default: those that your key sees.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once."""
    with terminal.client() as client:
        said = flags.present(name=name, scopes=[scope.value], tenant=tenant)
        made = client.create_key(said)
    if as_json:
        terminal.show(made)
        return
    terminal.say(f"{made['id']}: {scope.value}, tenant {made['tenant']}; it is shown only here")
    typer.echo(made["key"])


@app.command(name="list")
def list_(*, limit: AtMost = 20, as_json: AsJson = False) -> None:
    """List keys, newest first, revoked ones included."""
    with terminal.client() as client:
        found = list(itertools.islice(client.keys(), limit))
    titles = ("key", "scopes", "tenant", "created", "last used", "revoked", "name")
    terminal.show_list(found, titles, cells=_cells, as_json=as_json)


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="key_…")]) -> None:
    """Shut a key out, for good."""
    with terminal.client() as client:
        client.revoke_key(key)
    terminal.say(f"{key} opens nothing any more")


def _cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    used, revoked = (_minute(one[field]) for field in ("last_used_at", "revoked_at"))
    scopes, name = ",".join(one["scopes"]), one["name"] or ""
    return one["id"], scopes, one["tenant"], terminal.minute(one), used, revoked, name


def _minute(moment: str | None) -> str:
    return (moment or "")[:16].replace("T", " ")
