"""Partners, shop bindings, contracts, clients and signing keys."""

from alembic import op

from channel_kit import tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SERVICE = "partner"

_TABLES = """
-- Spans of time that must not overlap are kept apart by the database itself (equality beside && in one index).
create extension if not exists btree_gist;

create table partner (
  partner_id uuid primary key,
  code text not null unique,
  name text not null,
  kind text not null,
  state text not null check (state in ('active', 'suspended', 'terminated')),
  parent_id uuid references partner check (parent_id <> partner_id),
  effective_from timestamptz not null,
  revision bigint not null check (revision > 0),
  stream_version bigint not null check (stream_version >= 0)
);
create index partner_parent on partner (parent_id) where parent_id is not null;

create table partner_transition (
  transition_id bigint generated always as identity primary key,
  partner_id uuid not null references partner,
  from_state text not null,
  to_state text not null,
  reason text,
  actor text not null,
  recorded_at timestamptz not null
);
create index partner_transition_partner on partner_transition (partner_id, transition_id);

create table shop (
  platform text not null,
  shop_id text not null,
  stream_version bigint not null default 0 check (stream_version >= 0),
  primary key (shop_id, platform)
);

create table binding (
  shop_id text not null,
  platform text not null,
  valid_from timestamptz not null,
  valid_to timestamptz check (valid_to > valid_from),
  partner_id uuid not null references partner,
  channel text not null,
  primary key (shop_id, platform, valid_from),
  foreign key (shop_id, platform) references shop,
  constraint binding_overlap exclude using gist
    (shop_id with =, platform with =, tstzrange(valid_from, valid_to) with &&)
);
create index binding_partner on binding (partner_id);

create table contract (
  contract_id uuid primary key,
  code text not null unique,
  partner_id uuid not null references partner,
  revision bigint not null check (revision > 0),
  stream_version bigint not null check (stream_version >= 0)
);
create index contract_partner on contract (partner_id, code);

create table contract_version (
  contract_id uuid not null references contract,
  version integer not null check (version > 0),
  partner_id uuid not null references partner,
  state text not null check (state in ('draft', 'approved')),
  valid_from timestamptz not null,
  valid_to timestamptz check (valid_to > valid_from),
  time_zone text not null,
  plan_codes text[] not null,
  terms json not null,
  terms_hash text not null,
  author text not null,
  approver text,
  approved_at timestamptz,
  primary key (contract_id, version),
  check ((state = 'approved') = (approver is not null and approved_at is not null)),
  constraint contract_overlap exclude using gist
    (contract_id with =, tstzrange(valid_from, valid_to) with &&) where (state = 'approved')
);

-- Approved is for ever: afterwards only an earlier end is taken.
create function keep_approved() returns trigger language plpgsql as $$
begin
  if old.state <> 'approved' then
    return new;
  end if;
  if (new.valid_to is null and old.valid_to is not null) or new.valid_to > old.valid_to
     or (new.contract_id, new.version, new.partner_id, new.state, new.valid_from, new.time_zone, new.plan_codes,
         new.terms::text, new.terms_hash, new.author, new.approver, new.approved_at)
        is distinct from
        (old.contract_id, old.version, old.partner_id, old.state, old.valid_from, old.time_zone, old.plan_codes,
         old.terms::text, old.terms_hash, old.author, old.approver, old.approved_at) then
    raise exception 'an approved contract version cannot be changed' using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger keep_approved before update on contract_version for each row execute function keep_approved();

create table client (
  client_id text primary key,
  name text not null,
  scopes text[] not null,
  partner_id uuid references partner,
  created_by text not null,
  created_at timestamptz not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  revision bigint not null check (revision > 0)
);

create table client_secret (
  client_id text not null references client,
  digest bytea not null check (length(digest) = 32),
  created_at timestamptz not null,
  expires_at timestamptz,
  primary key (client_id, digest)
);

create table signing_secret (
  key_id uuid primary key,
  kid text not null unique,
  sealed bytea not null,
  public_jwk json not null,
  not_before timestamptz not null,
  not_after timestamptz not null check (not_after > not_before),
  stream_version bigint not null check (stream_version > 0)
);
"""

# Table → (worker, staff, partner). The worker only makes keys; what people change, staff changes.
_GRANTS = {
    "partner": ("select", "select, insert, update", "select"),
    "partner_transition": ("select", "select, insert", "select"),
    "shop": ("select", "select, insert, update", ""),
    "binding": ("select", "select, insert, delete", "select"),
    "contract": ("select", "select, insert, update", "select"),
    "contract_version": ("select", "select, insert, update", "select"),
    "client": ("select", "select, insert, update", ""),
    "client_secret": ("select", "select, insert, delete", ""),
    "signing_secret": ("select, insert", "select", ""),
}
_OF_A_PARTNER = ("partner", "partner_transition", "binding", "contract", "contract_version", "client")


def upgrade() -> None:
    """Create everything; see the README for what each table is."""
    tables.create(op, _SERVICE)
    tables.script(op, _TABLES)
    for table, (worker, staff, partner) in _GRANTS.items():
        tables.grant(op, _SERVICE, table, worker=worker, staff=staff, partner=partner)
    for table in _OF_A_PARTNER:
        tables.protect(op, _SERVICE, table)
