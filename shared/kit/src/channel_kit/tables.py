"""The tables every service has, and the statements migrations use for rights and row level security.

Called from alembic migrations only. Roles of a service `x`: `x_owner` (migrations), `x_api` (login, no inherited
rights; becomes `x_staff` or `x_partner` per transaction), `x_worker` (login). Every table forces row level
security where it names a partner, so a forgotten filter still shows nothing foreign.
"""

from typing import Protocol

from channel_kit.outbox import SHARDS


class Migration(Protocol):
    """What of alembic's `op` is used here."""

    def execute(self, sqltext: str, /) -> None: ...


_KIT = f"""
create table outbox (
  id bigint generated always as identity (cache 1) primary key,
  event_id uuid not null unique,
  topic text not null,
  aggregate_type text not null,
  aggregate_id uuid not null,
  aggregate_version bigint not null check (aggregate_version > 0),
  shard smallint not null check (shard between 0 and {SHARDS - 1}),
  type text not null,
  headers json not null,
  payload json not null,
  created_at timestamptz not null default clock_timestamp(),
  unique (aggregate_id, aggregate_type, aggregate_version)
)
-- Up to 8 kB it is not compressed: it is read once and soon pruned, and packing it took half of its insert.
with (toast_tuple_target = 8160);
create table outbox_pending (id bigint primary key, shard smallint not null);
create table watermark (
  aggregate_id uuid not null,
  aggregate_type text not null,
  consumer text not null,
  last_version bigint not null check (last_version >= 0), -- 0: known, nothing applied yet
  last_event_id uuid,
  primary key (aggregate_id, aggregate_type, consumer)
);
create table parked (
  aggregate_id uuid not null,
  aggregate_type text not null,
  consumer text not null,
  version bigint not null,
  event text not null,
  reason text not null check (reason in ('gap', 'failed', 'redrive')),
  error text,
  attempts integer not null default 1,
  first_at timestamptz not null default clock_timestamp(),
  primary key (consumer, aggregate_id, aggregate_type, version)
);
create table feed_position (
  consumer text not null,
  topic text not null,
  partition integer not null,
  next_offset bigint not null check (next_offset >= 0),
  cluster_id text not null,
  replay boolean not null default false,
  handled_at timestamptz not null default clock_timestamp(),
  primary key (consumer, topic, partition)
);
create table idempotency (
  subject text not null,
  route text not null,
  key text not null,
  fingerprint bytea not null,
  status integer not null,
  body text not null,
  expires_at timestamptz not null,
  primary key (subject, route, key)
);
create index idempotency_expires on idempotency (expires_at);
create table rederive (
  id uuid not null,
  kind text not null,
  at timestamptz not null default clock_timestamp(),
  primary key (id, kind)
);
create table signing_key (
  kid text primary key,
  key_id uuid not null,
  public_jwk json not null,
  not_before timestamptz not null,
  not_after timestamptz not null
);
create table operator_action (
  action_id bigint generated always as identity primary key,
  subject text not null,
  action text not null,
  detail json not null,
  at timestamptz not null default clock_timestamp()
);
"""

_KIT_GRANTS = {
    "outbox": ("select, insert", "select, insert", "insert"),
    "outbox_pending": ("select, insert, delete", "select, insert", "insert"),
    "watermark": ("select, insert, update", "select", ""),
    "parked": ("select, insert, update, delete", "select, update", ""),
    "feed_position": ("select, insert, update", "select, update", ""),
    "idempotency": ("select, insert, update, delete", "select, insert, update", ""),  # everybody's answers
    "rederive": ("select, insert, update, delete", "select, insert, update", ""),
    "signing_key": ("select, insert, update", "select, insert, update", "select"),
    "operator_action": ("select, insert", "select, insert", ""),
}


def script(op: Migration, sql: str) -> None:
    """Runs several statements; each ends with a semicolon at the end of a line ($$ bodies are kept whole)."""
    statement: list[str] = []
    for line in sql.splitlines():
        statement.append(line)
        text = "\n".join(statement)
        if line.rstrip().endswith(";") and text.count("$$") % 2 == 0:
            op.execute(text)
            statement.clear()
    if rest := "\n".join(statement).strip():
        op.execute(rest)


def create(op: Migration, service: str) -> None:
    """Creates the kit's tables and their rights; the first thing a service's first migration does."""
    script(op, _KIT)
    for table, (worker, staff, partner) in _KIT_GRANTS.items():
        grant(op, service, table, worker=worker, staff=staff, partner=partner)


def grant(
    op: Migration, service: str, table: str, *, worker: str = "", staff: str = "", partner: str = ""
) -> None:
    """Rights on a table per role, as comma-separated verbs; an empty text is no right at all."""
    for role, verbs in (("worker", worker), ("staff", staff), ("partner", partner)):
        if verbs:
            op.execute(f"grant {verbs} on {table} to {service}_{role}")


def protect(op: Migration, service: str, table: str, *, partner_column: str = "partner_id") -> None:
    """Forces row level security: a partner sees and writes its own rows; staff, worker and owner see all."""
    op.execute(f"alter table {table} enable row level security")
    op.execute(f"alter table {table} force row level security")
    for role in ("owner", "worker", "staff"):
        op.execute(
            f"create policy {table}_{role} on {table} to {service}_{role} using (true) with check (true)"
        )
    own = f"{partner_column} = nullif(current_setting('app.partner', true), '')::uuid"
    op.execute(
        f"create policy {table}_partner on {table} to {service}_partner using ({own}) with check ({own})"
    )
