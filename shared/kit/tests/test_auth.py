"""Tokens, keys and guards: every forgery of the list is refused by name; rotation needs no restart."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from channel_events.partner import SigningKeyBody
from channel_kit import auth
from channel_kit.auth import Caller, Key, KeyRing, new_key, public, public_key, remember_keys, scope, sign
from channel_kit.database import STAFF, WORKER, Actor, Database
from channel_kit.http import Body, Router, Unguarded, create_app

PARTNER = UUID("0190a5a2-0000-7000-8000-000000000001")
NOW = datetime.now(UTC)
SECONDS = int(NOW.timestamp())
KID, PEM, JWK = new_key()
OLD_KID, OLD_PEM, OLD_JWK = new_key()
NEW_KID, NEW_PEM, NEW_JWK = new_key()
DAY = timedelta(days=1)

Judge = Callable[[str, httpx.Response, int], None]
router = Router()


@router.get("/v1/stock")
async def stock(caller: Annotated[Caller, scope("stock:read")]) -> dict[str, Any]:
    return {"subject": caller.subject, "kind": caller.actor.kind, "partner": caller.partner_id}


@router.get("/v1/both")
async def both(caller: Annotated[Caller, scope("stock:read", "orders:read")]) -> dict[str, Any]:
    return {}


@router.get("/v1/open", dependencies=[public])
async def anybody() -> dict[str, Any]:
    return {}


async def load() -> list[Key]:
    return [
        Key(KID, public_key(JWK), NOW - DAY, NOW + DAY),
        Key(OLD_KID, public_key(OLD_JWK), NOW - DAY, NOW - timedelta(seconds=1)),
        Key(NEW_KID, public_key(NEW_JWK), NOW + DAY, NOW + 2 * DAY),
    ]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(title="kit", routers=[router])
    app.state.key_ring = KeyRing(load)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kit") as client:
        yield client


def token(**changes: Any) -> str:
    given: dict[str, Any] = {"subject": "till-7", "scopes": ["stock:read"]}
    return sign(PEM, KID, **(given | changes))


def forged(claims: Any = None, header: Any = None, without: str = "") -> str:
    """A token signed with the right key, with other claims or header members."""
    sound = {"iss": "qudao", "aud": "qudao-api", "sub": "till-7", "scope": "stock:read"}
    times = {"iat": SECONDS, "nbf": SECONDS, "exp": SECONDS + 600}
    whole = {key: value for key, value in (sound | times | (claims or {})).items() if key != without}
    private = serialization.load_pem_private_key(PEM.encode(), None)
    assert isinstance(private, Ed25519PrivateKey)
    return by_hand({"alg": "EdDSA", "typ": "JWT", "kid": KID} | (header or {}), whole, private.sign)


def by_hand(header: Any, claims: Any, signer: Callable[[bytes], bytes] = lambda _: b"x") -> str:
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    message = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (message + b"." + base64.urlsafe_b64encode(signer(message)).rstrip(b"=")).decode()


def forged_by_algorithm() -> dict[str, str]:
    raw = public_key(JWK).public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    keys: dict[str, Any] = {
        "HS256": raw,
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed448.Ed448PrivateKey.generate(),
    }
    claims = {"sub": "x", "exp": SECONDS + 60}
    unsigned = by_hand({"alg": "none", "kid": KID}, claims, lambda _: b"")
    return {
        "alg none": unsigned,
        "alg none with a signature": unsigned + token().split(".")[2],
        **{f"alg {name}": jwt.encode(claims, key, name, {"kid": KID}) for name, key in keys.items()},
        "foreign key": sign(Ed25519PrivateKey.generate(), KID, subject="x", scopes=["admin"]),
        "run-out key": sign(OLD_PEM, OLD_KID, subject="x", scopes=["admin"]),
        "key of tomorrow": sign(NEW_PEM, NEW_KID, subject="x", scopes=["admin"]),
    }


def forged_by_form() -> dict[str, str]:
    sound = token()
    head, body, signature = sound.split(".")
    return {
        "empty": "",
        "two tokens": f"{sound} {sound}",
        "latin1": "ä.ö.ü",
        "long": "a" * 10_000 + ".b.c",
        "other body": f"{head}.{token(scopes=['admin']).split('.')[1]}.{signature}",
        "no signature": f"{head}.{body}.",
        "cut signature": sound[:-4],
        "two parts": f"{head}.{body}",
        "four parts": f"{sound}.x",
        "padding": f"{head}=.{body}.{signature}",
        "deep header": by_hand(b'{"kid":' + b"[" * 1500 + b"]" * 1500 + b"}", {}),
        "list header": by_hand([1], {}),
        "header no JSON": by_hand(b"\xff", {}),
    }


BAD_HEADERS: list[dict[str, Any]] = [
    *({"kid": kid} for kid in ["../../etc/passwd", "http://x/", "k-0", 7, None, "", "k" * 65, "k\0"]),
    *({"kid": kid} for kid in ["' or 1=1 --", KID + "\n", [KID], {"kid": KID}, "ｋ"]),
    *({"alg": alg} for alg in ["none", "NoNe", "eddsa", "EdDSA ", "", None, 7, ["EdDSA"]]),
    {"jku": "http://x/"},
    {"jwk": JWK},
    {"x5u": "http://x/"},
    {"crit": ["exp"]},
    {"b64": False},
    {"zip": "DEF"},
    {"typ": 7},
    {"typ": "secevent+jwt"},
]

BAD_CLAIMS: list[dict[str, Any]] = [
    *({"iss": iss} for iss in ["someone", ["qudao"], "", None, 7]),
    *({"aud": aud} for aud in ["else", 7, [], None, ["else"]]),
    *({"nbf": nbf} for nbf in [SECONDS + 120, "x", float("inf"), float("nan")]),
    *({"iat": iat} for iat in [SECONDS + 120, "x", float("nan"), [], -1, True, None]),
    *(
        {"exp": exp}
        for exp in [SECONDS + 960, 10**30, "9999999999", SECONDS + 60.5, float("inf"), True, None]
    ),
    {"exp": SECONDS - 1},  # before iat
    *({"sub": sub} for sub in [7, "", "s" * 129, "a\0", "a\r\nb", None, "ü"]),
    *({"scope": scope} for scope in [["admin"], 7, None, {"admin": True}]),
    *({"partner": partner} for partner in ["acme", None, 7, "", [str(PARTNER)], str(PARTNER)[:-1]]),
]


async def get(client: httpx.AsyncClient, value: str | None, path: str = "/v1/stock") -> httpx.Response:
    headers = [] if value is None else [(b"authorization", value.encode("latin-1"))]
    return await client.get(path, headers=headers)


async def test_sound_tokens_are_accepted(client: httpx.AsyncClient, tally: Judge) -> None:
    for sound in (token(), token(scopes=["admin"]), forged({"iat": SECONDS + 20, "nbf": SECONDS + 20})):
        tally("Auth", await get(client, f"Bearer {sound}"), 200)
        tally("Auth", await get(client, f"bearer {sound}"), 200)


async def test_a_partner_acts_as_itself(client: httpx.AsyncClient) -> None:
    answer = await get(client, f"Bearer {token(partner_id=PARTNER)}")
    assert answer.json() == {"subject": "till-7", "kind": "partner", "partner": str(PARTNER)}
    assert Caller("x", frozenset(), PARTNER).actor == Actor.partner(PARTNER)
    assert Caller("x", frozenset()).actor == STAFF


async def test_forged_tokens_are_refused(client: httpx.AsyncClient, tally: Judge) -> None:
    rows = {**forged_by_algorithm(), **forged_by_form()}
    rows |= {f"header {header}": forged(header=header) for header in BAD_HEADERS}
    rows |= {f"claims {claims}": forged(claims) for claims in BAD_CLAIMS}
    rows |= {f"without {name}": forged(without=name) for name in ("exp", "iat", "sub", "iss", "aud")}
    assert len(rows) > 85
    for name, text in rows.items():
        answer = await get(client, f"Bearer {text}")
        tally("Auth", answer, 401)
        assert answer.json()["code"] == "token-invalid", name
        assert answer.headers["www-authenticate"] == 'Bearer realm="qudao", error="invalid_token"'


async def test_expired_tokens_say_so(client: httpx.AsyncClient, tally: Judge) -> None:
    old = token(issued_at=NOW - timedelta(minutes=16))
    for text in (old, forged({"iat": SECONDS - 60, "nbf": SECONDS - 60, "exp": SECONDS - 1})):
        answer = await get(client, f"Bearer {text}")
        tally("Auth", answer, 401)
        assert answer.json()["code"] == "token-expired"


async def test_a_remembered_token_still_expires(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = token(issued_at=NOW)
    assert (await get(client, f"Bearer {text}")).status_code == 200
    expiry = SECONDS + 900
    monkeypatch.setattr(time, "time", lambda: expiry - 1)
    assert (await get(client, f"Bearer {text}")).status_code == 200
    monkeypatch.setattr(time, "time", lambda: expiry + 1)
    assert (await get(client, f"Bearer {text}")).json()["code"] == "token-expired"


async def test_remembered_tokens_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "VERIFIED_MAX", 3)
    ring = KeyRing(load)
    for number in range(10):
        await auth.verify(token(subject=f"s{number}"), ring)
        assert len(ring.verified) <= 3


async def test_a_header_without_a_bearer_is_refused(client: httpx.AsyncClient, tally: Judge) -> None:
    for value, code in ((None, "token-missing"), ("", "token-invalid"), ("Bearer", "token-invalid")):
        answer = await get(client, value)
        tally("Auth", answer, 401)
        assert answer.json()["code"] == code
    tally("Auth", await get(client, "Basic dXNlcjpwYXNz"), 401)
    twice = [("authorization", f"Bearer {token()}")] * 2
    tally("Auth", await client.get("/v1/stock", headers=twice), 401)


async def test_a_lacking_scope_is_named(client: httpx.AsyncClient, tally: Judge) -> None:
    for scopes in ([], ["orders:write"], ["stock:read2", "Stock:read", "admin2"]):
        answer = await get(client, f"Bearer {token(scopes=scopes)}")
        tally("Auth", answer, 403)
        assert answer.json()["scopes"] == ["stock:read"]
    answer = await get(client, f"Bearer {token()}", "/v1/both")
    assert answer.status_code == 403
    assert answer.json()["scopes"] == ["orders:read"]


async def test_a_public_route_needs_no_token(client: httpx.AsyncClient) -> None:
    assert (await get(client, None, "/v1/open")).status_code == 200


def test_an_unguarded_route_keeps_the_application_from_starting() -> None:
    careless = Router()

    @careless.get("/v1/a")
    async def bare() -> None: ...

    with pytest.raises(Unguarded, match="GET /v1/a"):
        create_app(title="kit", routers=[careless])


def test_a_body_in_the_frameworks_own_way_keeps_the_application_from_starting() -> None:
    class Lax(Body):
        sku: str

    careless = Router()

    @careless.post("/v1/a", dependencies=[public])
    async def lax(command: Lax) -> None: ...

    with pytest.raises(Unguarded, match=r"json_body on: POST /v1/a"):
        create_app(title="kit", routers=[careless])


async def test_a_route_added_later_is_found_at_start_up() -> None:
    app = create_app(title="kit", routers=[router])
    app.add_route("/raw", lambda request: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(Unguarded, match="/raw"):
        async with app.router.lifespan_context(app):
            pass


async def test_no_keys_yet_is_unavailable_and_not_a_refusal() -> None:
    async def nothing() -> list[Key]:
        return []

    app = create_app(title="kit", routers=[router])
    app.state.key_ring = KeyRing(nothing)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kit") as client:
        answer = await get(client, f"Bearer {token()}")
    assert answer.status_code == 503
    assert answer.json()["code"] == "keys-not-yet-known"
    assert answer.headers["retry-after"] == "1"


async def test_unknown_keys_cause_one_load_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, loads = [1000.0], 0
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    async def counting() -> list[Key]:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0)
        return await load()

    ring = KeyRing(counting)
    await asyncio.gather(*(ring.get(KID) for _ in range(50)))
    assert loads == 1
    for _ in range(50):
        with pytest.raises(auth.TokenInvalid):
            await ring.get("k-unknown")
    assert loads == 1
    clock[0] += 1.1
    results = await asyncio.gather(*(ring.get("k-unknown") for _ in range(50)), return_exceptions=True)
    assert all(isinstance(result, auth.TokenInvalid) for result in results)
    assert loads == 2
    clock[0] += 59
    await ring.get(KID)
    assert loads == 2
    clock[0] += 2
    await ring.get(KID)
    assert loads == 3


async def test_announced_keys_are_copied_and_rotation_needs_no_restart(kit_database: Database) -> None:
    app = create_app(title="kit", routers=[router])
    app.state.database = kit_database
    first, second = uuid4(), uuid4()
    text = token()

    def body(kid: str, jwk: dict[str, str], until: datetime) -> SigningKeyBody:
        return SigningKeyBody(kid=kid, public_jwk=jwk, not_before=NOW - DAY, not_after=until)

    async with kit_database.write(WORKER) as tx:
        await remember_keys(tx, [])
        await remember_keys(tx, [(first, body(KID, JWK, NOW)), (first, body(KID, JWK, NOW + DAY))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kit") as client:
        assert (await get(client, f"Bearer {text}")).status_code == 200
        rotated = sign(NEW_PEM, NEW_KID, subject="x", scopes=["admin"])
        assert (await get(client, f"Bearer {rotated}")).status_code == 401
        async with kit_database.write(WORKER) as tx:
            await remember_keys(tx, [(second, body(NEW_KID, NEW_JWK, NOW + DAY))])
        await asyncio.sleep(auth.RELOAD_SECONDS_MIN + 0.1)
        assert (await get(client, f"Bearer {rotated}")).status_code == 200
        async with kit_database.write(WORKER) as tx:
            await remember_keys(tx, [(first, body(KID, JWK, NOW - timedelta(hours=1)))])
        app.state.key_ring._loaded_at = -float("inf")
        assert (await get(client, f"Bearer {text}")).status_code == 401


def test_a_signer_keeps_to_the_rules() -> None:
    with pytest.raises(ValueError, match="900"):
        token(lifetime_seconds=901)
    with pytest.raises(ValueError, match="Ed25519"):
        sign("not a key", KID, subject="x", scopes=[])
    with pytest.raises(ValueError, match="Ed25519"):
        public_key({"kty": "EC", "crv": "P-256", "x": "AA"})
    assert jwt.decode(token(), options={"verify_signature": False})["scope"] == "stock:read"
    assert "d" not in JWK
