"""Clients and tokens over HTTP. Everything is for `admin`, except the token endpoint, which is for anybody with a
secret (RFC 6749 section 4.4: client_credentials, by form, JSON or HTTP Basic)."""

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote_plus
from uuid import UUID

from fastapi import Depends, Path, Request, Response
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from channel_kit import auth, idempotency, strictjson
from channel_kit.auth import Caller
from channel_kit.database import STAFF, Write
from channel_kit.http import Body, Router, View, database, json_body, read_capped, require_media_type
from channel_kit.idempotency import REPLAYED_HEADER, IdempotencyKey
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import BadRequest, NotFound
from partner_svc.client import actions, rules, store
from partner_svc.client.actions import InvalidClient, Issued
from partner_svc.client.rules import Client
from partner_svc.partner import actions as partner
from partner_svc.partner import rules as texts

TOKEN_REQUEST_BYTES_MAX = 8 * 1024

router = Router(tags=["clients"])

Name = Annotated[str, AfterValidator(texts.clean_name)]
Moment = Annotated[datetime, BeforeValidator(texts.moment)]
ClientId = Annotated[str, Path(max_length=100)]
Admin = Annotated[Caller, auth.scope("admin", staff=True)]
Credential = Annotated[str, Field(max_length=500)]


class InvalidTokenRequest(BadRequest):
    code = "invalid-token-request"
    title = "Send grant_type=client_credentials with client_id and client_secret, once each"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, error="invalid_request")


class UnsupportedGrantType(BadRequest):
    code = "unsupported-grant-type"
    title = "Only the grant type client_credentials is offered"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, error="unsupported_grant_type")


class RegisterClient(Body):
    """A program that may ask for tokens. With a partner it sees that partner only, without one it is staff."""

    name: Name
    scopes: Annotated[list[str], Field(min_length=1, max_length=len(rules.SCOPES))]
    partner_id: UUID | None = None
    expires_at: Moment | None = None


class RotateSecret(Body):
    """How long the present secret stays good; 0 ends it at once."""

    grace_seconds: Annotated[int, Field(ge=0, le=int(rules.GRACE_MAX.total_seconds()))] = 24 * 3600


class TokenRequest(Body):
    """RFC 6749, 4.4.2. `scope`: names separated by spaces; all that the client holds when absent."""

    grant_type: Credential
    client_id: Credential | None = None
    client_secret: Credential | None = None
    scope: Credential | None = None


class SecretView(View):
    """When a secret was made and when it ends; the secret itself cannot be read."""

    created_at: datetime
    expires_at: datetime | None


class ClientView(View):
    client_id: str
    name: str
    scopes: list[str]
    partner_id: UUID | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    secrets: list[SecretView]


class IssuedView(ClientView):
    """A client with a secret made for it just now. A repeated request gets null: rotate for another."""

    client_secret: str | None


class TokenView(View):
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str


def view(client: Client) -> ClientView:
    return ClientView.model_validate(_members(client))


def _members(client: Client) -> dict[str, Any]:
    return {
        "client_id": client.client_id,
        "name": client.name,
        "scopes": sorted(client.scopes),
        "partner_id": client.partner_id,
        "created_by": client.created_by,
        "created_at": client.created_at,
        "expires_at": client.expires_at,
        "revoked_at": client.revoked_at,
        "secrets": [
            {"created_at": each.created_at, "expires_at": each.expires_at} for each in client.secrets
        ],
    }


@router.post("/v1/clients", status_code=201, response_model=IssuedView)
async def register_client(
    command: Annotated[RegisterClient, json_body(RegisterClient)],
    caller: Admin,
    key: IdempotencyKey,
    request: Request,
) -> Response:
    """Register a client; the answer holds its secret, once. 422 `unknown-scope`, `scope-reserved`."""
    issued: list[Issued] = []

    async def run(tx: Write) -> Response:
        async def create() -> tuple[int, IssuedView]:
            issued[:] = [
                await actions.register(
                    tx,
                    name=command.name,
                    scopes=frozenset(command.scopes),
                    partner_id=command.partner_id,
                    expires_at=command.expires_at,
                    created_by=caller.subject,
                )
            ]
            # What is stored to answer a repetition must not hold the secret.
            return 201, IssuedView.model_validate(_members(issued[0].client) | {"client_secret": None})

        mark = idempotency.fingerprint(command)
        return await idempotency.once(tx, caller, "POST /v1/clients", key, mark, create)

    response = await database(request).transact(partner.staff(caller), run)
    if REPLAYED_HEADER in response.headers:
        return response
    body = json.loads(bytes(response.body)) | {"client_secret": issued[0].secret}
    return Response(json.dumps(body), 201, media_type="application/json")


@router.get("/v1/clients")
async def list_clients(caller: Admin, cursor: Cursor, request: Request) -> Page[ClientView]:
    """Clients by identifier."""
    (after,) = cursor.values(str) or (None,)
    async with database(request).read(partner.staff(caller)) as tx:
        found = await store.page(tx, after=after, limit=cursor.limit + 1)
    shown = found[: cursor.limit]
    return cursor.page([view(each) for each in shown], len(found), [each.client_id for each in shown[-1:]])


@router.get("/v1/clients/{client_id}")
async def read_client(client_id: ClientId, caller: Admin, request: Request) -> ClientView:
    """One client."""
    async with database(request).read(partner.staff(caller)) as tx:
        client = (await store.by_ids(tx, [client_id])).get(client_id)
    if client is None:
        raise NotFound
    return view(client)


@router.post("/v1/clients/{client_id}/secrets", status_code=201)
async def rotate_secret(
    client_id: ClientId,
    command: Annotated[RotateSecret, json_body(RotateSecret)],
    caller: Admin,
    request: Request,
) -> IssuedView:
    """Make a new secret; the one before it ends after the grace, older ones end now. 409 `client-revoked`."""

    async def run(tx: Write) -> Issued:
        return await actions.rotate(tx, client_id, timedelta(seconds=command.grace_seconds))

    issued = await database(request).transact(partner.staff(caller), run)
    return IssuedView.model_validate(_members(issued.client) | {"client_secret": issued.secret})


@router.post("/v1/clients/{client_id}/revoke")
async def revoke_client(client_id: ClientId, caller: Admin, request: Request) -> ClientView:
    """No token from now on, for ever. Tokens that were given live on for at most 15 minutes."""

    async def run(tx: Write) -> Client:
        return await actions.revoke(tx, client_id)

    return view(await database(request).transact(partner.staff(caller), run))


async def _token_request(request: Request) -> TokenRequest:
    """The request from a form or from JSON, completed by HTTP Basic."""
    media_type = require_media_type(request, "application/x-www-form-urlencoded", "application/json")
    raw = await read_capped(request, TOKEN_REQUEST_BYTES_MAX)
    sent = strictjson.validate(raw, TokenRequest) if media_type == "application/json" else _of_form(raw)
    headers = request.headers.getlist("authorization")
    if not headers:
        return sent
    if len(headers) > 1 or sent.client_secret is not None:
        raise InvalidTokenRequest("Show the secret in one place only.")
    client_id, secret = _basic(headers[0])
    if sent.client_id not in (None, client_id):
        raise InvalidTokenRequest("The body and the Authorization header name two clients.")
    return sent.model_copy(update={"client_id": client_id, "client_secret": secret})


_token_request.body_content = {  # type: ignore[attr-defined]  # the kit's OpenAPI document reads it
    kind: {"schema": TokenRequest.model_json_schema()}
    for kind in ("application/x-www-form-urlencoded", "application/json")
}


def _of_form(raw: bytes) -> TokenRequest:
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=20,
        )
    except ValueError:
        raise InvalidTokenRequest("The form cannot be read.") from None
    members: Mapping[str, str] = dict(pairs)
    if len(members) != len(pairs) or any("\0" in text for text in members.values()):
        raise InvalidTokenRequest
    try:
        # A form may hold members that we do not know (RFC 6749, 3.2); JSON is our own form and may not.
        return TokenRequest(
            **{name: text for name, text in members.items() if name in TokenRequest.model_fields and text}
        )
    except ValidationError:
        raise InvalidTokenRequest from None


def _basic(header: str) -> tuple[str, str]:
    kind, _, content = header.partition(" ")
    try:
        if kind.lower() != "basic":
            raise ValueError
        text = base64.b64decode(content.strip(), validate=True).decode("utf-8")
    except ValueError:
        raise InvalidClient from None
    client_id, _, secret = text.partition(":")
    client_id, secret = unquote_plus(client_id), unquote_plus(secret)
    if "\0" in client_id:
        raise InvalidClient
    return client_id, secret


@router.post("/v1/tokens", dependencies=[auth.public])
async def give_token(wanted: Annotated[TokenRequest, Depends(_token_request)], request: Request) -> TokenView:
    """Exchange a client's secret for an access token of at most 15 minutes. 401 `invalid-client`, whatever of the
    two is wrong; 400 `invalid-scope`, `unsupported-grant-type`."""
    if wanted.grant_type != "client_credentials":
        raise UnsupportedGrantType
    if wanted.client_id is None or wanted.client_secret is None:
        raise InvalidClient
    async with database(request).read(STAFF) as tx:
        token = await actions.exchange(
            tx, request.app.state.vault, wanted.client_id, wanted.client_secret, wanted.scope
        )
    return TokenView(
        access_token=token.access_token,
        token_type="Bearer",  # noqa: S106  the kind of token, no secret
        expires_in=token.expires_in,
        scope=" ".join(sorted(token.scopes)),
    )
