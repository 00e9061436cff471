"""What PostgreSQL alone can do with the same rows: scripts for pgbench, and the schema of the "6-statement" one.

`SIX_STATEMENTS` is the reference of several goals: a whole order written the plain way, six round trips. The others
write the two rows of intake (`delivery_key`, `delivery`) into the product's own tables.
"""

from datetime import UTC, datetime

from bench.bodies import PLACE, template

ORDER_SCHEMA = """
create table idem (key text primary key, status integer not null, created_at timestamptz not null default now());
create table orders (
  order_id bigint primary key, channel text not null, external_id text not null, currency text not null,
  total_minor bigint not null, state text not null, business_at timestamptz not null,
  recorded_at timestamptz not null default now(), unique (channel, external_id));
create table order_line (
  order_id bigint not null references orders, line_no integer not null, sku text not null,
  quantity numeric(20, 6) not null, net_minor bigint not null, primary key (order_id, line_no));
create table outbox (
  id bigint generated always as identity primary key, topic text not null, aggregate_id bigint not null,
  payload json not null, created_at timestamptz not null default now());
"""

SIX_STATEMENTS = """
\\set id random(1, 9000000000000000)
begin;
insert into idem (key, status) values ('shopify/' || (:id)::bigint, 200);
insert into orders (order_id, channel, external_id, currency, total_minor, state, business_at)
  values (:id, 'shopify', (:id)::bigint::text, 'CNY', 51900, 'paid', now());
insert into order_line (order_id, line_no, sku, quantity, net_minor)
  values (:id, 0, 'SKU-0001', 1, 12900), (:id, 1, 'SKU-0002', 2, 9100), (:id, 2, 'SKU-0003', 1, 29900);
insert into outbox (topic, aggregate_id, payload) values ('orders', :id, json_build_object('order', (:id)::bigint, 'data', '%s'));
commit;
""" % ("x" * 460)

_BODY = template(("SKU-0001", "SKU-0002", "SKU-0003"), datetime(2026, 3, 1, tzinfo=UTC)).decode()
_HEADERS = (
    '{"content-type": "application/json", "user-agent": "Shopify", "x-shopify-topic": "orders/create", '
    '"x-shopify-api-version": "2025-07", "x-shopify-webhook-id": "00000000000000000000000000000001"}'
)
_KEY = "sha256(convert_to('orders/create' || ({n})::bigint::text, 'UTF8'))"
_COLUMNS = "(delivery_id, platform, shop_id, topic, message_id, dedupe_key, body_sha256, body, headers, secret_id, received_at)"
_VALUES = f"""'shopify', 'shop.example', 'orders/create', ({{n}})::bigint::text, {_KEY}, {_KEY},
  convert_to(replace({{body}}, '{PLACE}', ({{n}})::bigint::text), 'UTF8'), {{headers}}::json, null::uuid, clock_timestamp()"""
_RANDOM = "\\set n random(100000000000, 999999999999)\n"


def _values(n: str) -> str:
    return _VALUES.format(n=n, body=_literal(_BODY), headers=_literal(_HEADERS))


def _literal(text: str) -> str:
    """A string constant in which pgbench sees no variable: it takes every colon with a letter behind for one."""
    quoted = text.replace("\\", "\\\\").replace("'", "''").replace(":", "\\072")
    return f"E'{quoted}'"


def _one(n: str, rows: str = "") -> str:
    return f"""
with t as materialized (select uuidv7() as id, {_KEY.format(n=n)} as key, {n} as n {rows}),
fresh as (
  insert into delivery_key (platform, shop_id, dedupe_key, body_key, delivery_id)
  select 'shopify', 'shop.example', key, ''::bytea, id from t
  on conflict do nothing returning delivery_id)
insert into delivery {_COLUMNS}
select t.id, {_values("t.n")} from fresh join t on t.id = fresh.delivery_id;
"""  # noqa: S608  constants


ONE_STATEMENT = _RANDOM + _one("(:n)::bigint")
BATCH_100 = _RANDOM + _one("(:n)::bigint + g", "from generate_series(1, 100) g")
SIX_ROUND_TRIPS = f"""{_RANDOM}
begin;
select connection_id, state from connection where platform = 'shopify' and slug = 'shop';
select 1 from delivery_key where dedupe_key = {_KEY.format(n=":n")};
insert into delivery_key (platform, shop_id, dedupe_key, body_key, delivery_id)
  values ('shopify', 'shop.example', {_KEY.format(n=":n")}, ''::bytea, uuidv7());
insert into delivery {_COLUMNS} values (uuidv7(), {_values(":n")});
commit;
"""  # noqa: S608  constants
