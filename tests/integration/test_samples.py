"""Real payloads: each has a verdict and a reason before it is sent, and ends as previewed when it is.

Read from `../shared/samples` where that folder stands beside the repository, else from order-svc's own fixtures,
which are modelled on the same contracts. Each goes to a fresh shop, since several tell of the same order.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qudao.main import app

from .deployment import Deployment, qudao
from .shops import Shop

ROOT = Path(__file__).parents[2]
GIVEN, OURS = ROOT.parent / "shared" / "samples", ROOT / "services/order-svc/tests/platforms/fixtures"
PLATFORMS = {
    "shopify": "shopify",
    "woocommerce": "woocommerce",
    "standard_webhooks": "generic",
    "generic": "generic",
}
VERDICTS = {"ledger": "applied", "ignored": "ignored", "quarantined": "quarantined"}
# What the payload would come with, where that is not the topic its shape suggests.
TOPICS = {
    "go_order.json": "orders/cancelled",
    "sharp_cart_updated_payload.json": "carts/update",
    "py_checkouts.json": "checkouts/create",
    "py_inventory_level.json": "inventory_levels/update",
    "order-without-data.json": "order.created",
}


@dataclass(frozen=True)
class Sample:
    """One payload under one topic; empty = none is stated."""

    platform: str
    file: Path
    topic: str

    def __str__(self) -> str:
        return f"{self.platform}/{self.file.name}" + (f"@{self.topic}" if self.topic else "")


def _samples() -> list[Sample]:
    if GIVEN.is_dir():
        files = [
            (ours, path)
            for theirs, ours in PLATFORMS.items()
            for path in sorted((GIVEN / theirs).glob("*.json"))
        ]
    else:
        files = [(path.name.partition("_")[0], path) for path in sorted(OURS.glob("*.json"))]
    found = [Sample(platform, path, "") for platform, path in files]
    return found + [Sample(s.platform, s.file, TOPICS[s.file.name]) for s in found if s.file.name in TOPICS]


SAMPLES = _samples()


def _preview(sample: Sample) -> dict[str, Any]:
    """What `qudao preview --json` says; it never fails, whatever the payload is."""
    asked = ["preview", sample.platform, str(sample.file), "--json", "--topic", sample.topic]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, f"{sample}: {result.output} {result.exception!r}"
    report: dict[str, Any] = json.loads(result.output)
    assert report["verdict"] in VERDICTS, sample
    assert report["reason"], sample
    assert bool(report["entries"]) <= (report["verdict"] == "ledger"), sample
    return report


def test_there_are_samples_of_every_platform() -> None:
    assert {sample.platform for sample in SAMPLES} == {"shopify", "woocommerce", "generic"}


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_every_payload_has_a_verdict_and_a_reason(sample: Sample) -> None:
    assert _preview(sample) == _preview(sample) | {"platform": sample.platform}


def test_preview_needs_no_running_stack(tmp_path: Path) -> None:
    sample = SAMPLES[0]
    told = qudao(tmp_path / "nothing", "preview", sample.platform, str(sample.file), "--json")
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout)["verdict"] in VERDICTS


async def test_every_payload_ends_on_the_stack_as_previewed(
    stack: Deployment, connect: Callable[..., Awaitable[Shop]], tell: Callable[[str], None]
) -> None:
    sent: list[tuple[Sample, Shop]] = []
    for number, sample in enumerate(SAMPLES):
        shop = await connect(sample.platform, f"sample-{number}")
        await shop.sent(sample.file.read_bytes(), sample.topic)
        sent.append((sample, shop))
    await stack.taken_in()
    ended: dict[str, int] = {}
    for sample, shop in sent:
        report = _preview(sample)
        [row] = await stack.rows(
            "order",
            "select status, reason, order_id from delivery where platform = $1 and shop_id = $2",
            shop.platform,
            shop.shop_id,
        )
        assert row["status"] == VERDICTS[report["verdict"]], sample
        if row["status"] == "applied":
            assert await _entries(stack, shop) == sorted(map(_previewed, report["entries"])), sample
        else:
            assert row["reason"] == report["reason"], sample
        ended[row["status"]] = ended.get(row["status"], 0) + 1
    await stack.audit_clean()
    tell(f"samples sent: {ended}")


_SAID = (
    "line_no",
    "line_kind",
    "kind",
    "quantity",
    "currency",
    "net_minor",
    "tax_minor",
    "business_at",
    "origin_at",
)


def _previewed(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(_text(name, entry[name]) for name in _SAID)


async def _entries(stack: Deployment, shop: Shop) -> list[tuple[str, ...]]:
    """The live entries of everything a shop sold."""
    found = []
    for order in await stack.pages("order", "/v1/orders", platform=shop.platform, shop_id=shop.shop_id):
        answer = await stack.get("order", f"/v1/orders/{order['order_id']}/entries")
        found += [_previewed(entry) for entry in answer["entries"] if entry["live"]]
    return sorted(found)


def _text(name: str, value: Any) -> str:
    """Both sides say instants in UTC, once with an offset and once with a Z."""
    return str(value).replace("+00:00", "Z") if name.endswith("_at") else str(value)
