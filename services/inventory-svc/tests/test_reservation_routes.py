"""Reservations of other systems over HTTP: gathered, whole or partial, once per key, each partner its own."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from channel_kit.database import Write
from inventory_svc.reservation import store
from inventory_svc.reservation.store import Claims

PATH = "/v1/reservations"


def wish(quantity: str, sku: str = "A", **more: Any) -> dict[str, Any]:
    return {"lines": [{"sku": sku, "quantity": quantity}], "hold_seconds": 600, **more}


@pytest.fixture
async def ten(house: Any) -> Any:
    await house.register("A", "B")
    await house.receive("A", 10)
    return house


async def test_whole_reservation_holds_all_and_is_announced(api: Any, ten: Any) -> None:
    answer = await api.post(PATH, wish("4"))
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["state"], body["source"], body["lines"][0]["held"]) == ("held", "api", "4")
    assert body["expires_at"] is not None
    told = await ten.announced("reservation", UUID(body["reservation_id"]))
    assert [each.body["order_version"] for each in told] == [0]
    assert (await api.get(f"{PATH}/{body['reservation_id']}")).json() == body
    await ten.audit()


async def test_v10_sixty_four_rivals_share_few_transactions_and_hold_exactly_ten(api: Any, ten: Any) -> None:
    answers = await asyncio.gather(*(api.post(PATH, wish("1")) for _ in range(64)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [201] * 10 + [409] * 54
    refusal = next(answer.json() for answer in answers if answer.status_code == 409)
    assert (refusal["code"], refusal["lines"]) == (
        "insufficient-stock",
        [{"sku": "A", "location": "main", "free": "0"}],
    )
    row = await ten.stock("A")
    assert row.reserved == 10
    batches = (await ten.announced("stock", row.stock_id))[1:]
    assert len(batches) <= 5, "rivals that wait at one moment share a transaction"
    await ten.audit()


async def test_refused_request_does_not_stand_in_the_way_of_smaller_ones(api: Any, ten: Any) -> None:
    answers = await asyncio.gather(*(api.post(PATH, wish(each)) for each in ("100", "1", "1", "1")))
    assert [answer.status_code for answer in answers] == [409, 201, 201, 201]


async def test_v10_whole_carts_with_two_lines_of_one_sku_are_decided_together(api: Any, ten: Any) -> None:
    cart = {"lines": [{"sku": "A", "quantity": "3"}, {"sku": "A", "quantity": "1"}], "hold_seconds": 60}
    answers = await asyncio.gather(*(api.post(PATH, cart) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [409] * 6
    assert (await ten.stock("A")).reserved == 8
    partial = await api.post(PATH, {**cart, "fulfil": "partial"})
    assert [(line["held"], line["short"]) for line in partial.json()["lines"]] == [("2", "1"), ("0", "1")]
    await ten.audit()


async def test_same_key_answers_the_same_once_and_another_body_is_refused(api: Any, ten: Any) -> None:
    key = uuid4().hex
    first = await api.post(PATH, wish("2"), key=key)
    again = await api.post(PATH, wish("2"), key=key)
    other = await api.post(PATH, wish("3"), key=key)
    stranger = await api.post(PATH, wish("2"), key=key, as_=api.token(subject="somebody-else"))
    assert (first.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert stranger.json()["reservation_id"] != first.json()["reservation_id"]
    assert (await ten.stock("A")).reserved == 4


async def test_same_key_at_the_same_moment_has_one_effect(api: Any, ten: Any) -> None:
    key = uuid4().hex
    answers = await asyncio.gather(*(api.post(PATH, wish("1"), key=key) for _ in range(12)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["reservation_id"] for answer in answers if answer.status_code == 201}) == 1
    assert (await ten.stock("A")).reserved == 1


@pytest.mark.parametrize("quantity", ["2", "12"])
async def test_answer_that_was_kept_while_its_key_was_being_claimed_is_found(
    api: Any, ten: Any, monkeypatch: pytest.MonkeyPatch, quantity: str
) -> None:
    """The claim's statement may begin before a rival's commit and claim after it: it sees nothing kept then.

    Once that leads to a second grant, and once to a refusal of what the rival was granted.
    """
    key, claim, claims = uuid4().hex, store.claim, 0

    async def blind_once(tx: Write, keys: Any) -> Claims:
        nonlocal claims
        claims += 1
        found = await claim(tx, keys)
        return found._replace(kept={}) if claims == 1 else found

    await ten.receive("A", 2)
    first = await api.post(PATH, wish(quantity), key=key)
    monkeypatch.setattr(store, "claim", blind_once)
    again = await api.post(PATH, wish(quantity), key=key)
    assert (again.status_code, again.json(), claims) == (201, first.json(), 2)
    assert (await ten.stock("A")).reserved == int(quantity)
    await ten.audit()


async def test_shelf_that_is_missing_is_made_and_holds_nothing(api: Any, ten: Any) -> None:
    body = {"lines": [{"sku": "A", "quantity": "1"}, {"sku": "B", "quantity": "1"}], "hold_seconds": 60}
    refused = await api.post(PATH, body)
    assert refused.json()["lines"] == [{"sku": "B", "location": "main", "free": "0"}]
    answers = await asyncio.gather(api.post(PATH, wish("1")), api.post(PATH, wish("1", sku="NOPE")))
    assert [answer.status_code for answer in answers] == [201, 409], "an unknown SKU stops nobody else"
    partial = await api.post(PATH, {**body, "fulfil": "partial"})
    assert [line["held"] for line in partial.json()["lines"]] == ["1", "0"]


async def test_refusal_is_not_kept_so_the_same_key_may_succeed_later(api: Any, ten: Any) -> None:
    key = uuid4().hex
    assert (await api.post(PATH, wish("12"), key=key)).status_code == 409
    await ten.receive("A", 5)
    assert (await api.post(PATH, wish("12"), key=key)).status_code == 201


async def act(api: Any, reservation_id: str, verb: str, **more: Any) -> Any:
    return await api.call("POST", f"{PATH}/{reservation_id}/{verb}", key=uuid4().hex, **more)


async def test_commit_issue_and_release_move_stock_once(api: Any, ten: Any) -> None:
    made = (await api.post(PATH, wish("4"))).json()["reservation_id"]
    for _ in range(2):
        answer = await act(api, made, "commit")
        assert (answer.status_code, answer.json()["state"]) == (200, "committed")
    for _ in range(2):
        answer = await act(api, made, "issue")
        assert (answer.status_code, answer.json()["state"]) == (200, "issued")
    row = await ten.stock("A")
    assert (row.on_hand, row.reserved, row.allocated) == (6, 0, 0)

    second = (await api.post(PATH, wish("6"))).json()["reservation_id"]
    for _ in range(2):
        answer = await act(api, second, "release")
        assert (answer.status_code, answer.json()["state"]) == (200, "released")
    refused = await act(api, second, "commit")
    assert (refused.status_code, refused.json()["code"]) == (409, "reservation-released")
    assert (await ten.stock("A")).reserved == 0
    await ten.audit()


async def test_commit_after_the_expiry_takes_stock_anew_or_says_what_is_missing(api: Any, ten: Any) -> None:
    first, second = [(await api.post(PATH, wish("5"))).json()["reservation_id"] for _ in range(2)]
    for each in (first, second):
        await ten.pass_time(UUID(each))
    await ten.drain()
    assert (await api.get(f"{PATH}/{first}")).json()["state"] == "expired"
    await api.post(PATH, wish("4"))
    assert (await act(api, first, "commit")).json()["state"] == "committed"
    refused = await act(api, second, "commit")
    assert (refused.status_code, refused.json()["code"]) == (409, "insufficient-stock")
    assert refused.json()["lines"] == [{"sku": "A", "location": "main", "free": "1"}]
    assert (await api.get(f"{PATH}/{second}")).json()["state"] == "expired"
    await ten.audit()


async def test_partial_reservation_is_filled_while_it_lives(api: Any, ten: Any) -> None:
    made = (await api.post(PATH, wish("12", fulfil="partial"))).json()
    assert (made["lines"][0]["held"], made["lines"][0]["short"]) == ("10", "2")
    await ten.receive("A", 1)
    await ten.drain()
    line = (await api.get(f"{PATH}/{made['reservation_id']}")).json()["lines"][0]
    assert (line["held"], line["short"]) == ("11", "1")


async def test_partner_owns_its_reservations_and_others_do_not_exist_for_it(api: Any, ten: Any) -> None:
    mine, theirs = api.token(partner_id=uuid4()), api.token(partner_id=uuid4())
    made = (await api.post(PATH, wish("1"), as_=mine)).json()["reservation_id"]
    assert (await api.get(f"{PATH}/{made}", as_=mine)).status_code == 200
    foreign = await api.get(f"{PATH}/{made}", as_=theirs)
    missing = await api.get(f"{PATH}/{uuid4()}", as_=theirs)
    assert (foreign.status_code, foreign.json()) == (404, missing.json())
    assert (await act(api, made, "release", as_=theirs)).status_code == 404
    assert (await api.get("/v1/holds", as_=theirs)).json()["items"] == []
    assert len((await api.get("/v1/holds", as_=mine)).json()["items"]) == 1
    assert (await act(api, made, "commit", as_=mine)).status_code == 200
    assert (await api.get(f"{PATH}/{made}")).status_code == 200, "staff sees all"


async def test_reservation_of_an_order_follows_its_order_only(api: Any, ten: Any) -> None:
    order_id = uuid4()
    await ten.apply(ten.order(order_id, [{"sku": "A", "ordered": 1}]))
    assert (await api.get(f"{PATH}/{order_id}")).json()["source"] == "order"
    refused = await act(api, str(order_id), "release")
    assert (refused.status_code, refused.json()["code"]) == (409, "order-reservation")


BAD_REQUESTS: list[tuple[Any, int, str]] = [
    (wish("0"), 422, "invalid-request"),
    (wish("-1"), 422, "invalid-request"),
    (wish("1e2"), 422, "invalid-request"),
    (wish("0.1234567"), 422, "invalid-request"),
    (wish("9" * 15), 422, "invalid-request"),
    ({**wish("1"), "lines": []}, 422, "invalid-request"),
    ({**wish("1"), "lines": [{"sku": "A", "quantity": 1}]}, 422, "invalid-request"),
    ({**wish("1"), "lines": [{"sku": "A", "quantity": True}]}, 422, "invalid-request"),
    ({**wish("1"), "lines": [{"sku": "A\u0000", "quantity": "1"}]}, 400, "malformed-json"),
    ({**wish("1"), "partner_id": str(uuid4())}, 422, "invalid-request"),
    ({**wish("1"), "hold_seconds": 0}, 422, "invalid-request"),
    ({**wish("1"), "hold_seconds": 2**63}, 400, "malformed-json"),
    ({**wish("1"), "hold_seconds": "600"}, 422, "invalid-request"),
    ({**wish("1"), "fulfil": "some"}, 422, "invalid-request"),
    (wish("1", sku="NOPE"), 409, "unknown-sku"),
    (wish("0.5"), 409, "quantity-too-fine"),
    (
        {**wish("1"), "lines": [{"sku": "A", "quantity": "1", "location": "moon"}]},
        409,
        "unknown-location",
    ),
    (wish("99999999999999"), 409, "insufficient-stock"),
    ([], 422, "invalid-request"),
]


async def test_bad_requests_are_problems_that_say_why(api: Any, ten: Any) -> None:
    for body, status, code in BAD_REQUESTS:
        answer = await api.post(PATH, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await ten.stock("A")).reserved == 0


async def test_reservation_needs_a_sound_key(api: Any, ten: Any) -> None:
    for key in (None, "short", "with space 1234567890", "x" * 129):
        answer = await api.call("POST", PATH, key=key, json=wish("1"))
        assert answer.status_code == 400
        assert answer.json()["code"].startswith("idempotency-key-")
