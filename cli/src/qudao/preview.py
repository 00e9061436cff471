"""`qudao preview`: what a payload would become, without a running stack: ledger, ignored or quarantined.

The same pure functions that the drain uses, on a file. Nothing is stored, and no reference data is known, so
every order shows as unbound and its SKUs as unknown.
"""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

from channel_kit.clock import now
from order_svc.intake import rules as intake
from order_svc.intake.rules import Delivery
from order_svc.order import rules as orders
from order_svc.order.rules import Account, Head
from order_svc.order.values import Deletion, OrderDocument, Refund, dump
from order_svc.platforms import PLATFORMS

NOBODY = UUID(int=0)


class UnknownPlatform(ValueError):
    """There is no adapter of that name; the message lists those there are."""


def preview(platform: str, raw: bytes, topic: str = "", at: datetime | None = None) -> dict[str, Any]:
    """`{verdict, reason, platform, topic, dedupe_key, document?, entries, flags}` as plain JSON values."""
    adapter = PLATFORMS.get(platform)
    if adapter is None:
        raise UnknownPlatform(
            f"there is no adapter for {platform!r}; use one of {', '.join(sorted(PLATFORMS))}"
        )
    received_at = at or now()
    message = adapter.describe(raw, {})
    read = intake.read(Delivery(NOBODY, platform, "preview", topic or message.topic, raw, received_at, False))
    verdict = "ledger" if read.news else read.status
    documents = [news.document for news in read.news]
    accounts = [account for account in map(_account, documents) if account]
    entries = [_entry(wanted) for account in accounts for wanted in account.entries]
    flags = sorted({flag for account in accounts for flag in account.snapshot.flags})
    if any(isinstance(document, Refund) for document in documents):
        flags.append("refund-before-order")
    report: dict[str, Any] = {
        "verdict": verdict,
        "reason": read.reason or _reason(documents),
        "detail": read.detail,
        "platform": platform,
        "topic": topic or message.topic or None,
        "dedupe_key": message.dedupe_key.hex(),
        "entries": entries,
        "flags": flags,
    }
    if documents:
        shown = [_document(document) for document in documents]
        report["document"] = shown[0] if len(shown) == 1 else shown
    return report


def _account(document: OrderDocument | Refund | Deletion) -> Account | None:
    head, _ = orders.absorb(Head(NOBODY, "preview", "preview", document.platform_order_id), document)
    return orders.account(head)


def _reason(documents: list[OrderDocument | Refund | Deletion]) -> str:
    kinds = {OrderDocument: "order-document", Refund: "refund-waits-for-its-order", Deletion: "deletion"}
    return ", ".join(sorted({kinds[type(document)] for document in documents}))


def _document(document: OrderDocument | Refund | Deletion) -> dict[str, Any]:
    if isinstance(document, Deletion):
        return {"platform_order_id": document.platform_order_id, "deleted_version": document.version}
    return json.loads(dump(document))  # type: ignore[no-any-return]


def _entry(wanted: Any) -> dict[str, Any]:
    money = wanted.components
    return {
        "line_no": wanted.line_no,
        "line_kind": wanted.line_kind,
        "kind": wanted.kind,
        "quantity": format(wanted.quantity.normalize(), "f") if wanted.quantity else "0",
        "currency": wanted.currency,
        "net_minor": money.net_minor,
        "net_sales_minor": money.net_sales_minor,
        "tax_minor": money.tax_minor,
        "business_at": wanted.business_at.isoformat(),
        "origin_at": wanted.origin_at.isoformat(),
    }


def show(report: dict[str, Any], console: Console) -> None:
    """The same for people."""
    colour = {"ledger": "green", "ignored": "yellow", "quarantined": "red"}[report["verdict"]]
    detail = f" · {report['detail']}" if report["detail"] else ""
    console.print(f"[{colour}]{report['verdict']}[/] · {report['reason']}{detail}")
    console.print(
        f"platform {report['platform']} · topic {report['topic'] or 'not stated'} · key {report['dedupe_key'][:16]}…"
    )
    if report["flags"]:
        console.print("flags: " + ", ".join(report["flags"]))
    if report["entries"]:
        table = Table("line", "kind", "quantity", "net", "net sales", "business at")
        for entry in report["entries"]:
            table.add_row(
                f"{entry['line_no']} {entry['line_kind']}",
                entry["kind"],
                entry["quantity"],
                f"{entry['net_minor']} {entry['currency']}",
                str(entry["net_sales_minor"]),
                entry["business_at"],
            )
        console.print(table)
