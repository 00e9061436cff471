"""Bodies of the partner family: partners, shop bindings, contracts and signing keys.

Announced by partner-svc and copied by every other service. No secrets and no personal data: a key's private
part is refused here.
"""

from typing import Annotated, Final
from uuid import UUID, uuid5

from pydantic import AfterValidator, Field, StringConstraints

from channel_events.values import NO_NUL_PATTERN, Code, Instant, Record, Sha256, Text, Version

SHOP_NAMESPACE: Final = UUID("9e2921fb-5096-4ea0-9c5c-5e9e532c41a8")

_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def shop_aggregate_id(platform: str, shop_id: str) -> UUID:
    """The aggregate id of a shop, derived, since a shop has no id but its platform's."""
    # U+0000 is refused in both parts, so no two pairs spell the same name.
    return uuid5(SHOP_NAMESPACE, f"{platform}\0{shop_id}")


class PartnerBody(Record):
    """A partner as it stands; aggregate: the partner."""

    code: Code
    name: Text
    kind: Code
    state: Code
    parent_id: UUID | None = None
    effective_from: Instant


class Binding(Record):
    """For whom and on which channel a shop sells, from `valid_from` until just before `valid_to`."""

    partner_id: UUID
    channel: Code
    valid_from: Instant
    valid_to: Instant | None = None


class ShopBody(Record):
    """The whole list of a shop's bindings; aggregate: the shop, by `shop_aggregate_id`."""

    platform: Code
    shop_id: Text
    bindings: Annotated[tuple[Binding, ...], Field(max_length=1_000)]


class ContractBody(Record):
    """An approved contract version; aggregate: the contract."""

    version: Version
    partner_id: UUID
    valid_from: Instant
    valid_to: Instant | None = None
    """The first instant after; null while open."""
    time_zone: Code
    """IANA name; rebate periods are cut in it."""
    plan_codes: Annotated[tuple[Code, ...], Field(max_length=200)]
    terms_hash: Sha256


def _public_only(jwk: dict[str, str]) -> dict[str, str]:
    if "kty" not in jwk:
        raise ValueError("a JWK names its key type in 'kty'")
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        raise ValueError("a private or symmetric key must not be announced")
    return jwk


JwkText = Annotated[str, StringConstraints(strict=True, max_length=2_000, pattern=NO_NUL_PATTERN)]


class SigningKeyBody(Record):
    """A public key that access tokens are signed with; aggregate: the key."""

    kid: Code
    public_jwk: Annotated[dict[Code, JwkText], Field(max_length=20), AfterValidator(_public_only)]
    not_before: Instant
    not_after: Instant
