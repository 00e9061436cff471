"""The command line: `qudao --help` lists what it can do. Each command lives in a module of its own."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from qudao.operations import Refused
from qudao.stack import NoStack, Stack

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Qudao, an open channel middle platform (渠道)."
)
console = Console()

Data = Annotated[Path, typer.Option("--data", help="Folder of the local stack.", envvar="QUDAO_DATA")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DATA = Path(".qudao")


def _on(data: Path, run: Callable[[Stack], Awaitable[T]]) -> T:
    """Runs an operation on the stack of a folder; says what is wrong in one line and ends with 1."""
    import httpx

    async def operation() -> T:
        return await run(Stack.open(data))

    try:
        return asyncio.run(operation())
    except (NoStack, Refused, httpx.TransportError) as error:
        said = (
            str(error)
            if not isinstance(error, httpx.TransportError)
            else f"the stack does not answer ({error})"
        )
        console.print(f"[red]{said}[/]")
        raise typer.Exit(1) from None


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
    from qudao import operations

    quiet = Console(quiet=True) if as_json else console
    found = _on(data, lambda stack: operations.status(stack, quiet))
    if as_json:
        typer.echo(json.dumps(found))


@app.command()
def token(
    data: Data = DATA,
    scopes: Annotated[str | None, typer.Option(help="Space-separated scopes; all when left out.")] = None,
) -> None:
    """Print an access token of the local administrator."""
    from qudao import operations

    typer.echo(_on(data, lambda stack: operations.token(stack, scopes)))


@app.command()
def replay(
    consumer: Annotated[str, typer.Argument(help="Such as insight.order.")], data: Data = DATA
) -> None:
    """Read a consumer's topic again from the beginning; what was seen has no new effect."""
    from qudao import operations

    partitions = _on(data, lambda stack: operations.replay(stack, consumer))
    console.print(f"{consumer} starts over on {partitions} partitions")


@app.command()
def redrive(
    service: Annotated[str, typer.Argument(help="Such as inventory.")],
    consumer: Annotated[str | None, typer.Option(help="One consumer only.")] = None,
    data: Data = DATA,
) -> None:
    """Try failed (parked) events again, in version order."""
    from qudao import operations

    events = _on(data, lambda stack: operations.redrive(stack, service, consumer))
    console.print(f"{events} events will be tried again")


@app.command()
def reprocess(
    reason: Annotated[str | None, typer.Option(help="Only deliveries quarantined for this reason.")] = None,
    data: Data = DATA,
) -> None:
    """Read quarantined deliveries again, with today's adapters."""
    from qudao import operations

    requeued = _on(data, lambda stack: operations.reprocess(stack, reason))
    console.print(f"{requeued} deliveries will be read again")


@app.command()
def republish(
    service: Annotated[str, typer.Argument(help="Whose events, such as order.")],
    topic: Annotated[str | None, typer.Option(help="One topic only.")] = None,
    after_id: Annotated[int, typer.Option(help="Only outbox rows after this one.")] = 0,
    data: Data = DATA,
) -> None:
    """Send old events again to a broker that lost them."""
    from qudao import operations

    events = _on(data, lambda stack: operations.republish(stack, service, topic, after_id))
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
