"""The tables of order-svc: connections, deliveries, orders, the ledger, copies of reference data."""

from alembic import op

from channel_kit import tables

revision = "0001"
down_revision = None

_TABLES = """
create table connection (
  connection_id uuid primary key,
  platform text not null,
  shop_id text not null,
  slug text not null,
  state text not null check (state in ('active', 'paused')),
  revision bigint not null default 1,
  created_at timestamptz not null default clock_timestamp(),
  last_delivery_at timestamptz,
  unique (platform, slug),
  unique (platform, shop_id)
);
create table connection_secret (
  secret_id uuid primary key,
  connection_id uuid not null references connection,
  sealed bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz
);
create index connection_secret_connection on connection_secret (connection_id);

create table delivery (
  delivery_id uuid primary key,
  platform text not null,
  shop_id text not null,
  topic text not null,
  message_id text,
  dedupe_key bytea not null,
  body_sha256 bytea not null,
  body bytea not null,
  headers json not null,
  secret_id uuid,
  id_reused boolean not null default false,
  received_at timestamptz not null,
  status text not null default 'new' check (status in ('new', 'applied', 'ignored', 'quarantined')),
  outcome text,
  reason text,
  detail text,
  order_id uuid,
  attempts integer not null default 0,
  settled_at timestamptz
);
create index delivery_new on delivery (received_at, delivery_id) where status = 'new';
create index delivery_quarantined on delivery (delivery_id) where status = 'quarantined';
create index delivery_order on delivery (order_id, delivery_id) where order_id is not null;
create table delivery_key (
  platform text not null,
  shop_id text not null,
  dedupe_key bytea not null,
  body_key bytea not null,
  delivery_id uuid not null,
  primary key (dedupe_key, body_key, shop_id, platform)
);

create table upload (
  upload_id uuid primary key,
  platform text not null,
  shop_id text not null,
  file_key bytea not null,
  file_name text,
  report json not null,
  rows integer not null,
  subject text not null,
  received_at timestamptz not null,
  unique (platform, shop_id, file_key)
);

create table order_head (
  order_id uuid primary key,
  platform text not null,
  shop_id text not null,
  platform_order_id text not null,
  number text,
  revision bigint not null default 0,
  stream_version bigint not null default 0,
  document json,
  deleted_version bigint,
  deleted_at timestamptz,
  marks text[] not null default '{}',
  lifecycle text,
  payment text,
  fulfilment text,
  currency text,
  partner_id uuid,
  channel text,
  business_at timestamptz,
  paid_at timestamptz,
  flags text[] not null default '{}',
  ordered_net_minor bigint not null default 0,
  paid_minor bigint not null default 0,
  refunded_minor bigint not null default 0,
  net_sales_minor bigint not null default 0,
  stock_status text,
  stock_version bigint not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  unique (platform_order_id, shop_id, platform)
);
create index order_head_number on order_head (number) where number is not null;
create index order_head_flags on order_head using gin (flags) where flags <> '{}';
create index order_head_shop on order_head (shop_id, platform);
create index order_head_partner on order_head (partner_id, order_id);

create table order_line (
  order_id uuid not null,
  line_no integer not null,
  external_id text not null,
  line_kind text not null,
  platform_sku text,
  sku text,
  title text,
  ordered numeric(20, 6) not null,
  cancelled numeric(20, 6) not null,
  shipped numeric(20, 6) not null,
  returned numeric(20, 6) not null,
  restocked numeric(20, 6) not null,
  net_minor bigint not null,
  kinds json not null,
  partner_id uuid,
  primary key (order_id, line_no)
);
create index order_line_unmapped on order_line (platform_sku) where sku is null and line_kind = 'product';

create table order_revision (
  revision_id uuid primary key,
  order_id uuid not null,
  delivery_id uuid,
  outcome text not null,
  version bigint not null,
  content_hash text not null,
  document json not null,
  recorded_at timestamptz not null
);
create index order_revision_order on order_revision (order_id, revision_id);

create table refund (
  order_id uuid not null,
  external_id text not null,
  standalone boolean not null,
  document json not null,
  recorded_at timestamptz not null default clock_timestamp(),
  primary key (order_id, external_id)
);

create table ledger_entry (
  entry_id uuid primary key,
  order_id uuid not null,
  line_no integer not null,
  line_kind text not null,
  kind text not null check (kind in ('ordered', 'cancelled', 'returned', 'paid', 'refunded', 'shipped', 'fee')),
  quantity numeric(20, 6) not null,
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  list_minor bigint not null,
  promo_minor bigint not null,
  platform_coupon_minor bigint not null,
  merchant_coupon_minor bigint not null,
  freight_minor bigint not null,
  tax_minor bigint not null,
  platform_fee_minor bigint not null,
  net_minor bigint not null,
  tax_included boolean not null,
  partner_id uuid,
  channel text,
  sku text,
  business_at timestamptz not null,
  origin_at timestamptz not null,
  recorded_at timestamptz not null,
  cause_delivery_id uuid,
  reverses_entry_id uuid unique,
  origin_entry_id uuid,
  entry_hash text not null check (length(entry_hash) = 64),
  constraint net_is_the_sum_of_its_components check (
    net_minor = list_minor + promo_minor + platform_coupon_minor + merchant_coupon_minor + freight_minor + tax_minor
                + platform_fee_minor),
  constraint amounts_are_bounded check (abs(net_minor) <= 1000000000000000),
  constraint platform_fees_are_fees check (platform_fee_minor = 0 or kind = 'fee'),
  constraint goods_carry_no_money check (kind <> 'shipped' or net_minor = 0),
  constraint cash_carries_no_goods check (kind not in ('paid', 'refunded', 'fee') or quantity = 0),
  constraint signs_follow_the_kind check (
    line_kind <> 'product' or reverses_entry_id is not null or case kind
      when 'ordered' then quantity >= 0 and net_minor >= 0
      when 'shipped' then quantity >= 0
      when 'cancelled' then quantity <= 0 and net_minor <= 0
      when 'returned' then quantity <= 0 and net_minor <= 0
      when 'refunded' then net_minor <= 0
      else true end)
);
create index ledger_entry_order on ledger_entry (order_id, entry_id);
create index ledger_entry_origin on ledger_entry (origin_entry_id) where origin_entry_id is not null;
create table ledger_unsealed (entry_id uuid primary key);
create table ledger_block (
  block_no bigint primary key check (block_no > 0),
  prev_hash text not null,
  merkle_root text not null,
  hash text not null unique,
  entries integer not null check (entries > 0),
  sealed_at timestamptz not null
);
create table ledger_block_entry (
  block_no bigint not null references ledger_block,
  position integer not null,
  entry_id uuid not null unique references ledger_entry,
  primary key (block_no, position)
);

create table shop_binding (
  platform text not null,
  shop_id text not null,
  bindings json not null,
  primary key (shop_id, platform)
);
create table listing_copy (
  platform text not null,
  shop_id text not null,
  platform_sku text not null,
  sku text,
  primary key (platform_sku, shop_id, platform)
);
create table item_copy (sku text primary key, name text not null);
"""

_ALL = "select, insert, update, delete"
_GRANTS = {
    "connection": ("select, update", "select, insert, update", ""),
    "connection_secret": ("select", "select, insert, update", ""),
    "delivery": ("select, insert, update", "select, insert, update", ""),
    "delivery_key": ("select, insert", "select, insert", ""),
    "upload": ("select, insert", "select, insert", ""),
    "order_head": ("select, insert, update", "select", "select"),
    "order_line": (_ALL, "select", "select"),
    "order_revision": ("select, insert", "select", ""),
    "refund": ("select, insert, update", "select", ""),
    "ledger_entry": ("select, insert", "select", "select"),
    "ledger_unsealed": ("select, insert, delete", "select", ""),
    "ledger_block": ("select, insert", "select", "select"),
    "ledger_block_entry": ("select, insert", "select", "select"),
    "shop_binding": (_ALL, "select", ""),
    "listing_copy": (_ALL, "select", ""),
    "item_copy": (_ALL, "select", ""),
}


def upgrade() -> None:
    tables.create(op, "order")
    tables.script(op, _TABLES)
    for table, (worker, staff, partner) in _GRANTS.items():
        tables.grant(op, "order", table, worker=worker, staff=staff, partner=partner)
    for table in ("order_head", "order_line", "ledger_entry"):
        tables.protect(op, "order", table)
