"""Facts, their sums per day, and the copies of names.

Everything here can be built again from the topics. The key of a day holds unknowns as values, hence `nulls not
distinct`; sums are `numeric`, since 10^15 minor units a fact outgrow bigint.
"""

from alembic import op
from alembic.operations import Operations

from channel_kit import tables

revision = "0001"
down_revision = None

SERVICE = "insight"

TABLES = """
create table entry_fact (
  entry_id uuid primary key,
  order_id uuid not null,
  line_no integer not null,
  line_kind text not null,
  kind text not null,
  quantity numeric(20,6) not null,
  currency text not null,
  platform_coupon_minor bigint not null,
  freight_minor bigint not null,
  tax_minor bigint not null,
  net_minor bigint not null,
  partner_id uuid,
  channel text,
  sku text,
  business_at timestamptz not null,
  origin_at timestamptz not null,
  recorded_at timestamptz not null,
  reverses_entry_id uuid,
  entry_hash text not null,
  business_on date not null,
  origin_on date not null
);
create table daily_fact (
  day date not null,
  currency text not null,
  partner_id uuid,
  channel text,
  sku text,
  entries numeric(38,0) not null,
  demand_entries numeric(38,0) not null,
  cash_entries numeric(38,0) not null,
  goods_entries numeric(38,0) not null,
  product_entries numeric(38,0) not null,
  cohort_entries numeric(38,0) not null,
  rebate_entries numeric(38,0) not null,
  ordered_units numeric(38,6) not null,
  cancelled_units numeric(38,6) not null,
  returned_units numeric(38,6) not null,
  shipped_units numeric(38,6) not null,
  cohort_shipped_units numeric(38,6) not null,
  cohort_returned_units numeric(38,6) not null,
  ordered_net_sales_minor numeric(38,0) not null,
  cancelled_net_sales_minor numeric(38,0) not null,
  returned_net_sales_minor numeric(38,0) not null,
  paid_net_sales_minor numeric(38,0) not null,
  refunded_net_sales_minor numeric(38,0) not null,
  paid_net_minor numeric(38,0) not null,
  refunded_net_minor numeric(38,0) not null,
  fee_minor numeric(38,0) not null,
  rebate_minor numeric(38,0) not null,
  unique nulls not distinct (day, currency, partner_id, channel, sku)
);
create table order_fact (
  order_id uuid primary key,
  version bigint not null,
  platform text not null,
  shop_id text not null,
  platform_order_id text not null,
  partner_id uuid,
  channel text,
  currency text not null,
  placed_on date not null,
  paid_on date,
  lifecycle text not null,
  payment text not null,
  fulfilment text not null,
  paid_minor bigint not null,
  refunded_minor bigint not null,
  net_sales_minor bigint not null,
  flags text[] not null,
  skus text[] not null
);
create index order_fact_paid_on on order_fact (paid_on) where paid_on is not null;
create table cell_fact (
  cell_id uuid primary key,
  version bigint not null,
  plan_id uuid not null,
  plan_version bigint not null,
  partner_id uuid not null,
  period_start_on date not null,
  period_end_on date not null,
  currency text not null,
  basis_minor bigint not null,
  accrued_minor bigint not null
);
create table rebate_fact (
  cell_id uuid not null,
  version bigint not null,
  position integer not null,
  day date not null,
  currency text not null,
  partner_id uuid not null,
  channel text,
  sku text,
  rebate_minor bigint not null,
  primary key (cell_id, version, position)
);
create table stock_fact (
  stock_id uuid primary key,
  version bigint not null,
  sku text not null,
  location text not null,
  on_hand numeric(20,6) not null,
  reserved numeric(20,6) not null,
  allocated numeric(20,6) not null,
  quarantined numeric(20,6) not null,
  safety numeric(20,6) not null,
  available numeric(20,6) not null
);
create table feed_freshness (
  consumer text primary key,
  last_event_at timestamptz not null,
  handled_at timestamptz not null
);
create table partner_name (
  partner_id uuid primary key,
  version bigint not null,
  code text not null,
  name text not null
);
create table item_name (
  item_id uuid primary key,
  version bigint not null,
  sku text not null,
  name text not null
);
create index item_name_sku on item_name (sku);
"""


def upgrade() -> None:
    # The kit is typed against the object behind alembic's module of the same functions.
    operations = Operations(op.get_context())
    tables.create(operations, SERVICE)
    tables.script(operations, TABLES)
    for table in ("entry_fact", "rebate_fact"):
        tables.protect(operations, SERVICE, table)
        tables.grant(operations, SERVICE, table, worker="select, insert", staff="select", partner="select")
    for table in ("daily_fact", "order_fact", "cell_fact", "partner_name"):
        tables.protect(operations, SERVICE, table)
        tables.grant(
            operations, SERVICE, table, worker="select, insert, update", staff="select", partner="select"
        )
    for table in ("item_name", "feed_freshness"):
        tables.grant(
            operations, SERVICE, table, worker="select, insert, update", staff="select", partner="select"
        )
    tables.grant(operations, SERVICE, "stock_fact", worker="select, insert, update", staff="select")
