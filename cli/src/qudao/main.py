"""The command line: `qudao --help` lists what it can do. Each command lives in a module of its own."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from qudao import operations
from qudao.client import Client, Refused, Unreachable
from qudao.stack import SERVICES, NoStack, Stack

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Qudao, an open channel middle platform (渠道)."
)
console = Console()

Data = Annotated[Path, typer.Option("--data", help="Folder of the local stack.", envvar="QUDAO_DATA")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DATA = Path(".qudao")


def _on(data: Path, run: Callable[[Client], Awaitable[T]]) -> T:
    """Runs an operation on the stack of a folder; says what is wrong in one line and ends with 1."""

    async def operation() -> T:
        async with Client.connect(Stack.open(data), operations.PATIENCE_SECONDS) as client:
            return await run(client)

    try:
        return asyncio.run(operation())
    except (NoStack, Refused, Unreachable) as error:
        console.print(f"[red]{error}[/]")
        raise typer.Exit(1) from None


def _service(name: str) -> str:
    if name not in SERVICES:
        raise typer.BadParameter(f"use one of {', '.join(SERVICES)}")
    return name


Service = Annotated[
    str, typer.Argument(help="partner, order, inventory, incentive or insight.", callback=_service)
]


@app.command()
def up(
    data: Data = DATA,
    demo: Annotated[
        bool, typer.Option("--demo", help="Play a day of traffic on an empty stack, then stay up.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the day.")] = 1,
    orders: Annotated[int, typer.Option(help="Orders of the day.")] = 600,
) -> None:
    """Run the whole stack here: PostgreSQL, Kafka and every service, until Ctrl-C."""
    if demo:
        from qudao import demo as days

        raise typer.Exit(asyncio.run(days.run(data, seed=seed, orders=orders)))
    from qudao.up import up as run

    raise typer.Exit(asyncio.run(run(data)))


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Seed of the day.")] = 1,
    orders: Annotated[int, typer.Option(help="Orders of the day.")] = 600,
) -> None:
    """Play a day of traffic on a throw-away stack; succeeds only when the audit is clean."""
    from qudao import demo as days

    raise typer.Exit(asyncio.run(days.demo(seed=seed, orders=orders)))


@app.command()
def audit(
    data: Data = DATA,
    as_json: Json = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for events on their way.")] = 60.0,
) -> None:
    """Check every equation across all databases; fails on a breach."""
    from qudao import audit as auditing

    try:
        urls = auditing.database_urls(Stack.open(data))
    except NoStack as error:
        try:
            urls = auditing.database_urls(None)
        except ValueError:
            console.print(f"[red]{error}[/]")
            raise typer.Exit(1) from None
    raise typer.Exit(asyncio.run(auditing.audit(urls, console, as_json=as_json, wait=wait)))


@app.command()
def status(data: Data = DATA, as_json: Json = False) -> None:
    """Show lag, oldest pending, parked events and quarantined deliveries."""
    quiet = Console(quiet=True) if as_json else console
    found = _on(data, lambda client: operations.status(client, quiet))
    if as_json:
        typer.echo(json.dumps(found))


@app.command()
def token(data: Data = DATA) -> None:
    """Print an access token of the local administrator."""
    typer.echo(_on(data, operations.token))


@app.command()
def replay(
    consumer: Annotated[str, typer.Argument(help="Such as insight.order.")], data: Data = DATA
) -> None:
    """Read a consumer's topic again from the beginning; what was seen has no new effect."""
    _service(consumer.partition(".")[0])
    partitions = _on(data, lambda client: operations.replay(client, consumer))
    console.print(f"{consumer} starts over on {partitions} partitions")


@app.command()
def redrive(
    service: Service,
    consumer: Annotated[str | None, typer.Option(help="One consumer only.")] = None,
    data: Data = DATA,
) -> None:
    """Try failed (parked) events again, in version order."""
    events = _on(data, lambda client: operations.redrive(client, service, consumer))
    console.print(f"{events} events will be tried again")


@app.command()
def reprocess(
    reason: Annotated[str | None, typer.Option(help="Only deliveries quarantined for this reason.")] = None,
    data: Data = DATA,
) -> None:
    """Read quarantined deliveries again, with today's adapters."""
    requeued = _on(data, lambda client: operations.reprocess(client, reason))
    console.print(f"{requeued} deliveries will be read again")


@app.command()
def republish(
    service: Service,
    topic: Annotated[str | None, typer.Option(help="One topic only.")] = None,
    after_id: Annotated[int, typer.Option(help="Only outbox rows after this one.")] = 0,
    data: Data = DATA,
) -> None:
    """Send old events again to a broker that lost them."""
    events = _on(data, lambda client: operations.republish(client, service, topic, after_id))
    console.print(f"{events} events will be sent again")


@app.command()
def preview(
    platform: Annotated[str, typer.Argument(help="shopify, woocommerce, generic or pos.")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A payload.")],
    topic: Annotated[str, typer.Option(help="The topic it would come with; guessed when left out.")] = "",
    as_json: Json = False,
) -> None:
    """Show what a payload would become: ledger, ignored or quarantined, with the reason and the entries."""
    from qudao import preview as previews

    try:
        report = previews.preview(platform, file.read_bytes(), topic)
    except previews.UnknownPlatform as error:
        console.print(f"[red]{error}[/]")
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        previews.show(report, console)


if __name__ == "__main__":
    app()
