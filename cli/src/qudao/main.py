"""The command line: `qudao --help` lists what it can do. Each command lives in a module of its own."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Qudao, an open channel middle platform (渠道).")

Data = Annotated[Path, typer.Option("--data", help="Folder of the local stack.", envvar="QUDAO_DATA")]
DATA = Path(".qudao")


@app.callback()
def _root() -> None:
    """Qudao joins shops, partners, stock and rebates in one ledger."""


@app.command()
def up(data: Data = DATA) -> None:
    """Run the whole stack here: PostgreSQL, Kafka and every service, until Ctrl-C."""
    from qudao.up import up as run

    raise typer.Exit(asyncio.run(run(data)))


if __name__ == "__main__":
    app()
