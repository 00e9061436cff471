"""Roles and databases of a service, made once by somebody with the rights of a superuser.

`qudao up` and the tests call it; on Kubernetes the database operator does the same from manifests. Safe to run
again: it creates what is missing and sets the passwords.
"""

import asyncpg


async def provision(
    admin_url: str,
    service: str,
    *,
    database: str,
    owner_password: str,
    api_password: str,
    worker_password: str,
) -> None:
    """Creates `<service>_owner|api|worker|staff|partner` and `database`, owned by the owner role.

    `admin_url` is a plain `postgresql://` URL of a superuser. Raises asyncpg errors when it is refused.
    """
    connection = await asyncpg.connect(admin_url)
    try:
        logins = {"owner": owner_password, "api": api_password, "worker": worker_password}
        for name in ("owner", "api", "worker", "staff", "partner"):
            role = f"{service}_{name}"
            if not await connection.fetchval("select true from pg_roles where rolname = $1", role):
                await connection.execute(f"create role {_name(role)} noinherit nobypassrls")
            if name in logins:
                await connection.execute(f"alter role {_name(role)} login password {_text(logins[name])}")
        await connection.execute(
            f"grant {_name(service + '_staff')}, {_name(service + '_partner')} to {_name(service + '_api')}"
        )
        if not await connection.fetchval("select true from pg_database where datname = $1", database):
            await connection.execute(f"create database {_name(database)} owner {_name(service + '_owner')}")
        await connection.execute(f"revoke all on database {_name(database)} from public")
        for name in ("owner", "api", "worker"):
            await connection.execute(
                f"grant connect on database {_name(database)} to {_name(f'{service}_{name}')}"
            )
    finally:
        await connection.close()
    inside = await asyncpg.connect(admin_url.rsplit("/", 1)[0] + "/" + database)
    try:
        await inside.execute(f"alter schema public owner to {_name(service + '_owner')}")
        await inside.execute("revoke all on schema public from public")
        for name in ("api", "worker", "staff", "partner"):
            await inside.execute(f"grant usage on schema public to {_name(f'{service}_{name}')}")
    finally:
        await inside.close()


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
