"""What A and B have in every service: a row in each table that names a partner, planted as the owner of the tables.

A has two of everything, so that its lists have a second page; B has one. `$p` is the partner, `$thing` an id of its
own, `$of` its name as a text. Called by the fixture `house` only.
"""

from string import Template
from uuid import UUID

from channel_kit.database import Write

from .operations import THING, A, B

SHARED = {
    "inventory": """
        insert into item (item_id, sku, name, uom, quantity_scale) values ('$thing', 'COMMON', 'x', 'pcs', 0);
        insert into stock (stock_id, sku, location, on_hand, reserved) values ('$thing', 'COMMON', 'main', 50, 3)""",
}
"""What is the brand's own and every partner sells."""

OF_A_PARTNER = {
    "partner": """
        insert into partner values ('$p', '$of', '$of', 'store', 'active', null, '$may', 1, 1);
        insert into partner_transition (partner_id, from_state, to_state, reason, actor, recorded_at)
          values ('$p', 'suspended', 'active', '$of', 'x', '$may')""",
    "insight": "insert into partner_name values ('$p', 1, '$of', '$of')",
}
"""Once for each partner."""

EACH = {
    "order": """
        insert into order_head (order_id, platform, shop_id, platform_order_id, number, document, lifecycle, payment,
            fulfilment, currency, partner_id, channel, business_at)
          values ('$thing', 'pos', '$of', '$of', '$of', '{}', 'open', 'paid', 'none', 'CNY', '$p', '$of', '$may');
        insert into order_line (order_id, line_no, external_id, line_kind, ordered, cancelled, shipped, returned,
            restocked, net_minor, kinds, partner_id)
          values ('$thing', 1, '$of', 'product', 1, 0, 0, 0, 0, 100, '{}', '$p');
        insert into ledger_entry (entry_id, order_id, line_no, line_kind, kind, quantity, currency, list_minor,
            promo_minor, platform_coupon_minor, merchant_coupon_minor, freight_minor, tax_minor, platform_fee_minor,
            net_minor, tax_included, partner_id, channel, business_at, origin_at, recorded_at, entry_hash)
          values ('$thing', '$thing', 1, 'product', 'ordered', 1, 'CNY', 100, 0, 0, 0, 0, 0, 0, 100, false, '$p',
            '$of', '$may', '$may', '$may', repeat('a', 64))""",
    "partner": """
        insert into shop values ('pos', '$of', 1);
        insert into binding values ('$of', 'pos', '$may', null, '$p', '$of');
        insert into contract values ('$thing', '$of', '$p', 1, 1);
        insert into contract_version values ('$thing', 1, '$p', 'approved', '$may', null, 'UTC', '{$of}', '{}',
            '$of', 'x', 'y', '$may');
        insert into client values ('$of', '$of', '{orders:read}', '$p', 'x', '$may', null, null, 1)""",
    "inventory": """
        insert into reservation (order_id, partner_id, source, state, hold_seconds, expires_at)
          values ('$thing', '$p', 'api', 'held', 600, now() + interval '1 hour');
        insert into hold values ('$thing', 1, 'main', null, 'COMMON', 1, 0, 0, 1, 0, 0, 0, 0, 0,
            now() + interval '1 hour', '$p');
        insert into idempotency values ('$p', '/v1/reservations', 'key-of-$of-$of', '', 201, '{"of": "$of"}',
            now() + interval '1 day')""",
    "incentive": """
        insert into plan (plan_id, code, name) values ('$thing', '$of', '$of');
        insert into plan_version (plan_id, version, state, valid_from, calendar, currency, shape, tiers, basis,
            recognition, rounding, content_hash, activated_at)
          values ('$thing', 1, 'active', '2026-01-01', 'month', 'CNY', 'marginal',
            '[{"lower_minor": 0, "rate_ppm": 10000}]', 'net_sales', 'paid', 'half_even', repeat('a', 64), '$may');
        insert into contract values ('$thing', 1, '$p', '2026-01-01T00:00:00Z', null, 'UTC', '{$of}', 'x');
        insert into basis_entry (entry_id, order_id, line_no, line_kind, kind, quantity, currency, list_minor,
            promo_minor, platform_coupon_minor, merchant_coupon_minor, freight_minor, tax_minor, platform_fee_minor,
            net_minor, tax_included, partner_id, channel, sku, business_at, origin_at, recorded_at, entry_hash)
          values ('$thing', '$thing', 1, 'product', 'ordered', 1, 'CNY', 100, 0, 0, 0, 0, 0, 0, 100, false, '$p',
            '$of', '$of', '2026-05-03Z', '2026-05-03Z', '2026-05-03Z', 'x');
        insert into cell (cell_id, plan_id, partner_id, period_start, period_end, currency, plan_version, basis_minor,
            accrued_minor, seq)
          values ('$thing', '$thing', '$p', '2026-05-01', '2026-06-01', 'CNY', 1, 100, 1, 1);
        insert into accrual (cell_id, seq, partner_id, basis_before, basis_after, rebate_before, rebate_after,
            delta_minor, plan_version, slices) values ('$thing', 1, '$p', 0, 100, 0, 1, 1, 1,
            '[{"channel": "$of", "sku": "$of", "basis_delta_minor": 100}]')""",
    "insight": """
        insert into daily_fact values ('2026-05-01', 'CNY', '$p', '$of', '$of',
            1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
        insert into entry_fact values ('$thing', '$thing', 1, 'product', 'ordered', 1, 'CNY', 0, 0, 0, 100, '$p',
            '$of', '$of', '$may', '$may', '$may', null, 'x', '2026-05-01', '2026-05-01');
        insert into order_fact values ('$thing', 1, 'pos', '$of', '$of', '$p', '$of', 'CNY', '2026-05-01',
            '2026-05-01', 'open', 'paid', 'none', 100, 0, 100, '{}', '{$of}');
        insert into cell_fact values ('$thing', 1, '$thing', 1, '$p', '2026-05-01', '2026-06-01', 'CNY', 100, 1);
        insert into rebate_fact values ('$thing', 1, 1, '2026-05-01', 'CNY', '$p', '$of', '$of', 1)""",
}
"""A and B, and again A: a thing each."""

SECOND = UUID("0190a000-0000-7000-8000-0000000000ab")
_OF_B = UUID("0190b000-0000-7000-8000-0000000000bb")
COMMON = UUID("0190c000-0000-7000-8000-0000000000cc")
"""The brand's own item and stock, which both sell."""
MARKS_OF_A = {str(A), str(THING), str(SECOND), "OF-A", "OF-A2"}
"""Every text by which something of A's is known."""


async def plant(tx: Write, service: str) -> None:
    """Writes all of it."""
    steps = [(SHARED, A, COMMON, "")]
    steps += [(OF_A_PARTNER, A, THING, "OF-A"), (OF_A_PARTNER, B, _OF_B, "OF-B")]
    steps += [(EACH, A, THING, "OF-A"), (EACH, A, SECOND, "OF-A2"), (EACH, B, _OF_B, "OF-B")]
    for texts, partner, thing, name in steps:
        named = {"p": str(partner), "thing": str(thing), "of": name, "may": "2026-05-01T00:00:00Z"}
        for statement in texts.get(service, "").split(";"):
            if statement.strip():
                await tx.execute(Template(statement).substitute(named))
