"""Roles and rights: what a service's processes may do in their own database, and in nobody else's."""

from urllib.parse import urlsplit

import asyncpg
import pytest

from channel_kit.provision import provision

ODD = "o'clock \\ \"$$"


async def connect(
    admin_url: str, role: str, database: str, password: str | None = None
) -> asyncpg.Connection:
    address = urlsplit(admin_url)
    return await asyncpg.connect(
        host=address.hostname, port=address.port, user=role, password=password or role, database=database
    )


@pytest.fixture(scope="module")
async def provisioned(postgres: str) -> str:
    for service in ("north", "south"):
        await provision(
            postgres,
            service,
            database=f"qudao_{service}",
            owner_password=f"{service}_owner",
            api_password=ODD,
            worker_password=f"{service}_worker",
        )
    return postgres


async def test_provisioning_again_changes_nothing_but_passwords(provisioned: str) -> None:
    await provision(
        provisioned,
        "south",
        database="qudao_south",
        owner_password="south_owner",
        api_password="another",
        worker_password="south_worker",
    )
    await (await connect(provisioned, "south_api", "qudao_south", "another")).close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect(provisioned, "south_api", "qudao_south", ODD)


async def test_no_role_is_more_than_it_should_be(provisioned: str) -> None:
    admin = await asyncpg.connect(provisioned)
    rows = await admin.fetch(
        """
        select rolname, rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication or rolinherit as too_much,
               rolcanlogin from pg_roles where rolname like 'north\\_%' or rolname like 'south\\_%'
        """
    )
    await admin.close()
    assert len(rows) == 10
    assert [row["rolname"] for row in rows if row["too_much"]] == []
    assert {row["rolname"].partition("_")[2] for row in rows if row["rolcanlogin"]} == {
        "owner",
        "api",
        "worker",
    }


@pytest.mark.parametrize("role", ["owner", "worker"])
async def test_no_service_enters_anothers_database(provisioned: str, role: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connect(provisioned, f"north_{role}", "qudao_south")


async def test_only_the_owner_makes_tables(provisioned: str) -> None:
    worker = await connect(provisioned, "north_worker", "qudao_north")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await worker.execute("create table mine (n int)")
    await worker.close()
    owner = await connect(provisioned, "north_owner", "qudao_north")
    await owner.execute("create table ours (n int)")
    await owner.execute("drop table ours")
    await owner.close()


async def test_the_api_login_has_no_rights_of_its_own(provisioned: str) -> None:
    owner = await connect(provisioned, "north_owner", "qudao_north")
    await owner.execute("create table seen (n int); grant select on seen to north_staff")
    api = await connect(provisioned, "north_api", "qudao_north", ODD)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await api.execute("select * from seen")
    await api.execute("set role north_staff")
    await api.execute("select * from seen")
    for role in ("north_owner", "north_worker", "south_staff"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(f"set role {role}")
    await api.close()
    await owner.execute("drop table seen")
    await owner.close()
