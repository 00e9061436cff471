"""Plans, contract copies, the basis, cells and accruals.

The chain of a cell's accruals is held by the schema: each step names the state it began from, which must be the state
its predecessor ended in, and the cell's own figures must be those of its last step. So Σ delta = accrued cannot be
broken by any writer.
"""

from alembic import op

from channel_kit import tables

revision, down_revision = "0001", None

SERVICE = "incentive"

TABLES = """
create table plan (
  plan_id uuid primary key,
  code text not null unique,
  name text not null,
  revision bigint not null default 1,
  stream_version bigint not null default 0,
  created_at timestamptz not null default clock_timestamp()
);
create table plan_version (
  plan_id uuid not null references plan,
  version integer not null check (version > 0),
  state text not null check (state in ('draft', 'active', 'replaced')),
  valid_from date not null,
  valid_to date,
  calendar text not null check (calendar in ('month', 'quarter', 'year')),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  shape text not null check (shape in ('marginal', 'all_units')),
  tiers jsonb not null check (jsonb_typeof(tiers) = 'array' and jsonb_array_length(tiers) > 0),
  basis text not null check (basis in ('net_sales', 'net')),
  recognition text not null check (recognition in ('ordered', 'paid')),
  rounding text not null check (rounding in ('half_even', 'half_up', 'down')),
  channels text[],
  skus text[],
  content_hash text not null check (content_hash ~ '^[0-9a-f]{64}$'),
  created_at timestamptz not null default clock_timestamp(),
  activated_at timestamptz,
  primary key (plan_id, version),
  check (valid_to > valid_from),
  check ((state = 'draft') = (activated_at is null))
);
create unique index plan_version_begins_once on plan_version (plan_id, valid_from) where state = 'active';
create unique index plan_version_open_once on plan_version (plan_id) where state = 'active' and valid_to is null;

create table contract (
  contract_id uuid not null,
  version bigint not null check (version > 0),
  partner_id uuid not null,
  valid_from timestamptz not null,
  valid_to timestamptz,
  time_zone text not null,
  plan_codes text[] not null,
  terms_hash text not null,
  primary key (contract_id, version)
);
create index contract_partner on contract (partner_id);
create index contract_plan on contract using gin (plan_codes);

create table basis_entry (
  entry_id uuid primary key,
  order_id uuid not null,
  line_no integer not null,
  line_kind text not null,
  kind text not null,
  quantity numeric(20, 6) not null,
  currency text not null,
  list_minor bigint not null,
  promo_minor bigint not null,
  platform_coupon_minor bigint not null,
  merchant_coupon_minor bigint not null,
  freight_minor bigint not null,
  tax_minor bigint not null,
  platform_fee_minor bigint not null,
  net_minor bigint not null,
  tax_included boolean not null,
  partner_id uuid not null,
  channel text,
  sku text,
  business_at timestamptz not null,
  origin_at timestamptz not null,
  recorded_at timestamptz not null,
  reverses_entry_id uuid unique,
  origin_entry_id uuid,
  entry_hash text not null,
  check (net_minor = list_minor + promo_minor + platform_coupon_minor + merchant_coupon_minor + freight_minor
                     + tax_minor + platform_fee_minor)
);
create index basis_entry_partner on basis_entry (partner_id, origin_at);
create index basis_entry_order on basis_entry (order_id);

create table cell (
  cell_id uuid primary key,
  plan_id uuid not null,
  partner_id uuid not null,
  period_start date not null,
  period_end date not null check (period_end > period_start),
  currency text not null,
  plan_version integer not null,
  basis_minor bigint not null default 0,
  accrued_minor bigint not null default 0 check (accrued_minor >= 0),
  seq bigint not null default 0 check (seq >= 0),
  last_seq bigint generated always as (nullif(seq, 0)) stored,
  stream_version bigint not null default 0,
  unique (partner_id, plan_id, period_start, currency),
  foreign key (plan_id, plan_version) references plan_version,
  check (seq > 0 or (basis_minor = 0 and accrued_minor = 0))
);
create index cell_plan on cell (plan_id, period_start);

create table accrual (
  cell_id uuid not null references cell,
  seq bigint not null check (seq > 0),
  previous_seq bigint generated always as (nullif(seq - 1, 0)) stored,
  partner_id uuid not null,
  basis_before bigint not null,
  basis_after bigint not null,
  rebate_before bigint not null,
  rebate_after bigint not null check (rebate_after >= 0),
  delta_minor bigint not null,
  plan_version integer not null,
  cause_event_id uuid,
  slices jsonb not null check (jsonb_typeof(slices) = 'array'),
  recorded_at timestamptz not null default clock_timestamp(),
  primary key (cell_id, seq),
  unique (cell_id, seq, basis_after, rebate_after),
  foreign key (cell_id, previous_seq, basis_before, rebate_before)
    references accrual (cell_id, seq, basis_after, rebate_after),
  check (delta_minor = rebate_after - rebate_before),
  check (basis_after > 0 or rebate_after = 0),
  check (seq > 1 or (basis_before = 0 and rebate_before = 0))
);
alter table cell add foreign key (cell_id, last_seq, basis_minor, accrued_minor)
  references accrual (cell_id, seq, basis_after, rebate_after) deferrable initially deferred;
"""

# A plan's terms are a matter between the brand and those who signed them: no partner sees another's tiers.
PLANS_OF_THE_PARTNER = """
create policy plan_partner on plan to incentive_partner
  using (exists (select from contract where plan.code = any(contract.plan_codes)));
create policy plan_version_partner on plan_version to incentive_partner
  using (state <> 'draft' and exists (select from plan where plan.plan_id = plan_version.plan_id));
"""


def upgrade() -> None:
    tables.create(op, SERVICE)
    tables.script(op, TABLES)
    for table in ("contract", "basis_entry", "cell", "accrual"):
        tables.protect(op, SERVICE, table)
    for table in ("plan", "plan_version"):
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        for role in ("owner", "worker", "staff"):
            op.execute(
                f"create policy {table}_{role} on {table} to {SERVICE}_{role} using (true) with check (true)"
            )
    tables.script(op, PLANS_OF_THE_PARTNER)
    for table, worker, staff in (
        ("plan", "select", "select, insert, update"),
        ("plan_version", "select", "select, insert, update"),
        ("contract", "select, insert, update", "select"),
        ("basis_entry", "select, insert", "select"),
        ("cell", "select, insert, update", "select"),
        ("accrual", "select, insert", "select"),
    ):
        tables.grant(op, SERVICE, table, worker=worker, staff=staff, partner="select")
