"""The inventory's own tables beside the kit's."""

from alembic import op

from channel_kit import tables

revision = "0001"
down_revision = None

_TABLES = """
create table item (
  item_id uuid primary key,
  sku text not null unique,
  name text not null,
  category_path text[] not null default '{}',
  uom text not null,
  quantity_scale smallint not null check (quantity_scale between 0 and 6),
  barcodes text[] not null default '{}',
  unit_cost_minor bigint,
  currency text,
  revision bigint not null default 1,
  stream_version bigint not null default 0,
  changed_at timestamptz not null default clock_timestamp(),
  check (unit_cost_minor is null or currency is not null)
);
create table listing (
  listing_id uuid primary key,
  platform text not null,
  shop_id text not null,
  platform_sku text not null,
  sku text,
  revision bigint not null default 1,
  stream_version bigint not null default 0,
  changed_at timestamptz not null default clock_timestamp(),
  unique (platform_sku, shop_id, platform)
);
create table location (
  location_id uuid primary key,
  code text not null unique,
  name text not null,
  revision bigint not null default 1,
  changed_at timestamptz not null default clock_timestamp()
);
create table shop_location (
  platform text not null,
  shop_id text not null,
  location text not null references location (code),
  changed_at timestamptz not null default clock_timestamp(),
  primary key (shop_id, platform)
);
create table stock (
  stock_id uuid primary key,
  sku text not null,
  location text not null,
  on_hand numeric(20, 6) not null default 0 check (on_hand >= 0),
  reserved numeric(20, 6) not null default 0 check (reserved >= 0),
  allocated numeric(20, 6) not null default 0 check (allocated >= 0),
  quarantined numeric(20, 6) not null default 0 check (quarantined >= 0),
  safety numeric(20, 6) not null default 0 check (safety >= 0),
  stream_version bigint not null default 0,
  unique (sku, location),
  constraint stock_not_promised_twice check (reserved + allocated + quarantined <= on_hand)
);
create table movement (
  movement_id uuid primary key,
  stock_id uuid not null,
  sku text not null,
  location text not null,
  kind text not null check (
    kind in ('receipt', 'issue', 'adjustment', 'return', 'transfer_in', 'transfer_out', 'scrap')),
  quantity numeric(20, 6) not null check (quantity <> 0),
  cause text not null,
  order_id uuid,
  line_no integer,
  reason text,
  recorded_at timestamptz not null default clock_timestamp()
);
create index movement_sku on movement (sku, movement_id);
create index movement_order on movement (order_id, movement_id) where order_id is not null;
create index movement_opening on movement (stock_id) where cause = 'opening';
create table reservation (
  order_id uuid primary key,
  order_version bigint not null default 0 check (order_version >= 0),
  platform text,
  shop_id text,
  partner_id uuid,
  channel text,
  source text not null check (source in ('order', 'api')),
  firm boolean not null default false,
  whole boolean not null default false,
  hold_seconds integer,
  state text not null default 'none',
  expires_at timestamptz,
  stream_version bigint not null default 0,
  created_at timestamptz not null default now()
);
create table hold (
  order_id uuid not null references reservation (order_id),
  line_no integer not null,
  location text not null,
  platform_sku text,
  sku text,
  demanded numeric(20, 6) not null check (demanded >= 0),
  shipped numeric(20, 6) not null check (shipped between 0 and demanded),
  restock_due numeric(20, 6) not null check (restock_due >= 0),
  held numeric(20, 6) not null check (held >= 0),
  committed numeric(20, 6) not null check (committed >= 0),
  issued numeric(20, 6) not null check (issued between 0 and shipped),
  short numeric(20, 6) not null check (short >= 0),
  expired numeric(20, 6) not null check (expired >= 0),
  restocked numeric(20, 6) not null check (restocked >= 0),
  expires_at timestamptz,
  partner_id uuid,
  primary key (order_id, line_no, location),
  constraint hold_adds_up check (demanded = held + committed + issued + short + expired),
  constraint hold_expires check (held = 0 or expires_at is not null),
  constraint hold_unmapped_takes_nothing check (
    sku is not null or held + committed + issued + expired + restocked = 0)
);
create index hold_short on hold (sku, location) where short > 0 and sku is not null;
create index hold_unmapped on hold (platform_sku) where sku is null;
create index hold_expiry on hold (expires_at) where expires_at is not null;
create table discrepancy (
  order_id uuid not null,
  line_no integer not null,
  location text not null,
  sku text not null,
  kind text not null,
  quantity numeric(20, 6) not null,
  opened_at timestamptz not null default clock_timestamp(),
  changed_at timestamptz not null default clock_timestamp(),
  primary key (order_id, line_no, sku, location, kind)
);
create index discrepancy_open on discrepancy (order_id) where quantity <> 0;
create table refill (
  refill_id bigint generated always as identity primary key,
  sku text not null,
  location text not null,
  marked_at timestamptz not null default clock_timestamp()
);
insert into location (location_id, code, name) values (gen_random_uuid(), 'main', 'Main warehouse');
"""

_EVERYTHING = "select, insert, update, delete"
_APPEND = "select, insert"


def upgrade() -> None:
    """Creates the tables with their rights; movements can only be added to."""
    tables.create(op, "inventory")
    tables.script(op, _TABLES)
    for table in ("item", "listing", "location", "shop_location", "stock", "discrepancy", "refill"):
        tables.grant(op, "inventory", table, worker=_EVERYTHING, staff=_EVERYTHING)
    tables.grant(op, "inventory", "movement", worker=_APPEND, staff=_APPEND)
    for table in ("reservation", "hold"):
        tables.grant(op, "inventory", table, worker=_EVERYTHING, staff=_EVERYTHING, partner="select")
        tables.protect(op, "inventory", table)
