"""All commands, under their names."""

from __future__ import annotations

from typing import Annotated

import typer

from stillhouse import __version__, errors
from stillhouse.cli import (
    bench,
    doctor,
    inputs,
    jobs,
    keys,
    methods,
    push,
    report,
    students,
    submit,
    terminal,
    watch,
    workers,
)
from stillhouse.cli.terminal import AsJson

app = typer.Typer(
    name="stillhouse",
    help="Distil a teacher into smaller students, and see what the teacher was worth.",
    epilog=(
        "The service is the one at STILLHOUSE_URL; its key is read from STILLHOUSE_KEY.\n\n"
        f"Exit codes: {terminal.EXIT_CODES}."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(push.app, name="push")
app.command()(inputs.splits)
app.command()(submit.submit)
app.command(name="watch")(watch.watch)
app.command()(jobs.logs)
app.command()(jobs.cancel)
app.command(name="report")(report.report)
app.command()(students.pull)
app.command(name="bench")(bench.bench)
app.command(name="jobs")(jobs.jobs)
app.command()(inputs.teachers)
app.command()(inputs.datasets)
app.command(name="methods")(methods.methods)
app.command(name="students")(students.students)
app.command(name="doctor")(doctor.doctor)
app.add_typer(keys.app, name="keys")
app.command(name="workers")(workers.workers)
app.command()(workers.drain)


@app.command()
def version(*, as_json: AsJson = False) -> None:
    """Print this client's version and the service's."""
    found: dict[str, object] = {"client": __version__, "service": None}
    with terminal.client() as client:
        try:
            found["service"] = client.version()["version"]
        except errors.Unavailable as error:
            terminal.say(error.detail)
    if as_json:
        terminal.show(found)
        return
    typer.echo(f"client {found['client']}")
    if found["service"] is not None:
        typer.echo(f"service {found['service']}")


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer passes the flag's value
    if asked:
        typer.echo(f"stillhouse {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print this client's version."
        ),
    ] = False,
) -> None:
    """Options before any command."""
