"""`stillhouse`, the command: the client with progress bars, for people and for scripts.

The service is the one at STILLHOUSE_URL (default http://127.0.0.1:8000), with the key in
STILLHOUSE_KEY. Exit codes are listed in `stillhouse.cli.terminal`.
"""

from __future__ import annotations

import typer

from stillhouse import __version__, errors
from stillhouse.cli import jobs, push, report, submit, terminal, watch
from stillhouse.cli.terminal import AsJson

app = typer.Typer(
    name="stillhouse",
    help="Distil a teacher into smaller students, and see what the teacher was worth.",
    epilog="The service is the one at STILLHOUSE_URL; its key is read from STILLHOUSE_KEY.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(push.app, name="push")
app.command()(submit.submit)
app.command(name="jobs")(jobs.jobs)
app.command(name="watch")(watch.watch)
app.command()(jobs.logs)
app.command()(jobs.cancel)
app.command(name="report")(report.report)
app.command()(jobs.pull)


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


def main() -> None:
    """The entry point."""
    app()
