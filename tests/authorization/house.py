"""One service with A's and B's things in it, and everybody who may come to its door.

In this process, over the service's own application and a real database. Made by the fixture `house`.
"""

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from channel_kit import auth
from channel_kit.clock import now
from channel_kit.database import OWNER, Database
from channel_kit.problems import MEDIA_TYPE

from .operations import Operation, operations
from .rows import MARKS_OF_A

_EVERY_CALL_ITS_OWN = ("date", "traceparent")


class House:
    """The service; `kid`, `pem` and `jwk` are the key that its tokens are signed with."""

    def __init__(
        self,
        name: str,
        database: Database,
        app: Any,
        client: httpx.AsyncClient,
        key: tuple[str, str, dict[str, str]],
        document: dict[str, Any],
    ) -> None:
        self.name, self.database, self.app, self.client = name, database, app, client
        self.kid, self.pem, self.jwk = key
        self.document = document
        self.operations = list(operations(document))

    def token(
        self, *scopes: str, partner: UUID | None = None, age: int = 0, subject: str | None = None
    ) -> str:
        """A sound token, made `age` seconds ago. Each partner has one client."""
        return auth.sign(
            self.pem,
            self.kid,
            subject=subject or str(partner or "staff"),
            scopes=scopes,
            partner_id=partner,
            issued_at=now() - timedelta(seconds=age),
        )

    async def ask(
        self,
        operation: Operation,
        given: dict[str, str],
        *scopes: str,
        partner: UUID | None = None,
        body: Any = None,
        **headers: str,
    ) -> httpx.Response:
        """The answer to a caller with these scopes."""
        bearer = {"Authorization": f"Bearer {self.token(*scopes, partner=partner)}"}
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send(operation, given, [*bearer.items(), *own.items()], body)

    async def send(
        self, operation: Operation, given: dict[str, str], headers: list[tuple[str, str]], body: Any = None
    ) -> httpx.Response:
        """The answer, which is never an error of ours, and a problem when it is none of success."""
        request = operation.request(given, body)
        ours = {name.lower() for name, _ in headers}
        kept = [(name, value) for name, value in request["headers"].items() if name.lower() not in ours]
        answer = await self.client.request(**request | {"headers": [*kept, *headers]})
        assert answer.status_code < 500, (operation.name, answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == MEDIA_TYPE, operation.name
        return answer

    async def content(self, *, only_of_a: bool = False) -> dict[str, tuple[int, str]]:
        """Rows and a digest of every table; only those rows in which something of A's is named, when asked."""
        async with self.database.read(OWNER) as tx:
            names = [row.name for row in await tx.rows(TABLES)]
            found = {}
            for name in names:
                rows = [row.text for row in await tx.rows(f"select t::text as text from {name} t")]  # noqa: S608
                kept = sorted(text for text in rows if not only_of_a or names_a(text))
                found[name] = (len(kept), hashlib.sha256("\n".join(kept).encode()).hexdigest())
            return found


TABLES = """
    select c.relname::text as name from pg_class c
    where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace and c.relname <> 'alembic_version'
    order by 1
"""


def names_a(text: str) -> bool:
    """Whether a text names anything of A's."""
    return any(mark in text for mark in MARKS_OF_A)


def said(answer: httpx.Response) -> tuple[Any, ...]:
    """Everything of an answer that may tell anything: status, headers, body; not what every call has of its own."""
    headers = sorted(pair for pair in answer.headers.multi_items() if pair[0] not in _EVERY_CALL_ITS_OWN)
    return answer.status_code, headers, answer.content
