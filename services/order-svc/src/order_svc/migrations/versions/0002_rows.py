"""Row types: the shape in which many rows reach one statement, as a single array of them.

An array per column costs the driver some four times as much as the same values in rows. A type is never altered:
processes of the release before go on sending its shape. A column more is a type more. Quantities travel as text,
ten times cheaper for the driver than a decimal.
"""

from alembic import op

from channel_kit import tables

revision = "0002"
down_revision = "0001"

_TYPES = """
create type order_head_row as (
  order_id uuid,
  revision bigint,
  stream_version bigint,
  document json,
  deleted_version bigint,
  deleted_at timestamptz,
  marks text[],
  number text,
  lifecycle text,
  payment text,
  fulfilment text,
  currency text,
  partner_id uuid,
  channel text,
  business_at timestamptz,
  paid_at timestamptz,
  flags text[],
  ordered_net_minor bigint,
  paid_minor bigint,
  refunded_minor bigint,
  net_sales_minor bigint
);
create type order_line_row as (
  order_id uuid,
  line_no integer,
  external_id text,
  line_kind text,
  platform_sku text,
  sku text,
  title text,
  ordered text,
  cancelled text,
  shipped text,
  returned text,
  restocked text,
  net_minor bigint,
  kinds json,
  partner_id uuid
);
create type ledger_entry_row as (
  entry_id uuid,
  order_id uuid,
  line_no integer,
  line_kind text,
  kind text,
  quantity text,
  currency text,
  list_minor bigint,
  promo_minor bigint,
  platform_coupon_minor bigint,
  merchant_coupon_minor bigint,
  freight_minor bigint,
  tax_minor bigint,
  platform_fee_minor bigint,
  net_minor bigint,
  tax_included boolean,
  partner_id uuid,
  channel text,
  sku text,
  business_at timestamptz,
  origin_at timestamptz,
  recorded_at timestamptz,
  cause_delivery_id uuid,
  reverses_entry_id uuid,
  origin_entry_id uuid,
  entry_hash text
);
"""


def upgrade() -> None:
    tables.script(op, _TYPES)
