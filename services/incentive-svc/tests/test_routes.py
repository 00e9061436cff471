"""HTTP: plans from draft to statement, pages, what a partner sees, and what is refused with a reason."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from channel_kit.database import Actor
from channel_kit.ids import uuid7
from channel_kit.pagination import encode_cursor

DRAFT = {
    "valid_from": "2026-01-01",
    "calendar": "month",
    "currency": "CNY",
    "shape": "all_units",
    "tiers": [
        {"lower_minor": 0, "rate_ppm": 0},
        {"lower_minor": 1_000_000, "rate_ppm": 30_000},
        {"lower_minor": 2_000_000, "rate_ppm": 50_000},
    ],
}


COUNTS = (
    "select count(*) from basis_entry",
    "select count(*) from cell",
    "select count(*) from accrual",
    "select count(*) from contract",
    "select count(*) from plan",
    "select count(*) from plan_version",
)


async def ok(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def problem(answer: Any, status: int, code: str) -> Any:
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()


async def make_plan(api: Any, code: str = "P1", **change: Any) -> Any:
    await ok(await api.post("/v1/plans", {"code": code, "name": f"Plan {code}"}), 201)
    await ok(await api.post(f"/v1/plans/{code}/versions", DRAFT | change), 201)
    return await ok(await api.post(f"/v1/plans/{code}/versions/1/activate"))


class TestPlans:
    async def test_from_draft_to_force(self, api: Any) -> None:
        created = await ok(await api.post("/v1/plans", {"code": "P1", "name": "年度返利"}), 201)
        assert (created["code"], created["name"], created["versions"]) == ("P1", "年度返利", [])
        drafted = await ok(await api.post("/v1/plans/P1/versions", DRAFT), 201)
        assert (drafted["version"], drafted["state"], drafted["recognition"]) == (1, "draft", "paid")
        active = await ok(await api.post("/v1/plans/P1/versions/1/activate"))
        [version] = active["versions"]
        assert (version["state"], version["content_hash"]) == ("active", drafted["content_hash"])
        again = await ok(await api.post("/v1/plans/P1/versions/1/activate"))
        assert again == active
        assert await ok(await api.get("/v1/plans/P1")) == active
        listed = await ok(await api.get("/v1/plans"))
        assert [(plan["code"], plan["versions"]) for plan in listed["items"]] == [("P1", None)]

    async def test_pages(self, api: Any) -> None:
        for code in ("A", "B", "C"):
            await ok(await api.post("/v1/plans", {"code": code, "name": code}), 201)
        first = await ok(await api.get("/v1/plans", limit=2))
        second = await ok(await api.get("/v1/plans", limit=2, cursor=first["next_cursor"]))
        assert [p["code"] for p in first["items"] + second["items"]] == ["A", "B", "C"]
        assert second["next_cursor"] is None

    async def test_refusals(self, api: Any) -> None:
        await make_plan(api)
        problem(await api.post("/v1/plans", {"code": "P1", "name": "Again"}), 409, "plan-code-taken")
        problem(await api.get("/v1/plans/NONE"), 404, "unknown-plan")
        problem(await api.post("/v1/plans/NONE/versions", DRAFT), 404, "unknown-plan")
        problem(await api.post("/v1/plans/P1/versions/9/activate"), 404, "unknown-plan-version")
        off = problem(
            await api.post("/v1/plans/P1/versions", DRAFT | {"valid_from": "2026-01-15"}),
            409,
            "off-period-boundary",
        )
        assert off["errors"][0]["pointer"] == "/valid_from"
        tiers = [{"lower_minor": 5, "rate_ppm": 1}]
        problem(await api.post("/v1/plans/P1/versions", DRAFT | {"tiers": tiers}), 422, "unsound-plan")
        await ok(await api.post("/v1/plans/P1/versions", DRAFT | {"currency": "USD"}), 201)
        problem(await api.post("/v1/plans/P1/versions/2/activate"), 409, "plan-terms-fixed")
        dated = DRAFT | {"valid_from": "2026-04-01", "valid_to": "2026-07-01"}
        await ok(await api.post("/v1/plans/P1/versions", dated), 201)
        problem(await api.post("/v1/plans/P1/versions/3/activate"), 409, "plan-versions-overlap")
        await ok(await api.post("/v1/plans/P1/versions", DRAFT), 201)
        await ok(await api.post("/v1/plans/P1/versions/4/activate"))
        problem(await api.post("/v1/plans/P1/versions/1/activate"), 409, "plan-version-replaced")

    async def test_a_stale_etag_activates_nothing(self, api: Any) -> None:
        await ok(await api.post("/v1/plans", {"code": "P1", "name": "P"}), 201)
        seen = (await api.get("/v1/plans/P1")).headers["etag"]
        await ok(await api.post("/v1/plans/P1/versions", DRAFT), 201)
        stale = await api.post("/v1/plans/P1/versions/1/activate", None, None, **{"if-match": seen})
        problem(stale, 412, "precondition-failed")

    @pytest.mark.parametrize(
        "change",
        [
            {"valid_from": "yesterday"},
            {"valid_from": 0},
            {"valid_from": "0001-01-01"},
            {"valid_from": "9999-12-01"},
            {"calendar": "week"},
            {"currency": "cny"},
            {"currency": "XYZ"},
            {"tiers": []},
            {"tiers": [{"lower_minor": 0.5, "rate_ppm": 0}]},
            {"tiers": [{"lower_minor": 0, "rate_ppm": 1_000_001}]},
            {"tiers": [{"lower_minor": 10**16, "rate_ppm": 0}]},
            {"tiers": [{"lower_minor": 0, "rate_ppm": True}]},
            {"surprise": 1},
            {"channels": []},
            {"skus": ["a\u0000b"]},
        ],
    )
    async def test_a_wrong_draft_is_the_callers_fault(self, api: Any, change: dict[str, Any]) -> None:
        await ok(await api.post("/v1/plans", {"code": "P1", "name": "P"}), 201)
        answer = await api.post("/v1/plans/P1/versions", DRAFT | change)
        assert 400 <= answer.status_code < 500, answer.text

    async def test_preview_is_the_same_arithmetic(self, api: Any) -> None:
        body = {"shape": "marginal", "tiers": DRAFT["tiers"], "basis_minor": 2_100_000}
        found = await ok(await api.post("/v1/plans/preview", body))
        assert (found["rebate_minor"], found["exact_minor"]) == (35_000, "35000")
        assert [(s["from_minor"], s["to_minor"], s["amount_minor"]) for s in found["slices"]] == [
            (0, 1_000_000, "0"),
            (1_000_000, 2_000_000, "30000"),
            (2_000_000, 2_100_000, "5000"),
        ]
        nothing = await ok(await api.post("/v1/plans/preview", body | {"basis_minor": -5}))
        assert (nothing["rebate_minor"], nothing["slices"]) == (0, [])
        problem(
            await api.post("/v1/plans/preview", body | {"tiers": [{"lower_minor": 1, "rate_ppm": 1}]}),
            422,
            "unsound-plan",
        )


@pytest.fixture
async def may(api: Any, desk: Any, build: Any) -> UUID:
    """A partner with two sales and a refund of May, an entry in dollars, and an order that waits for its money."""
    partner = uuid7()
    await make_plan(api)
    await desk.contracts(build.contract_event(partner, "P1"))
    day = [build.at(f"2026-05-0{n}") for n in range(1, 6)]
    await desk.entries(
        build.make_entry(partner, 1_500_000, when=day[1]),
        build.make_entry(partner, 600_000, when=day[2], sku="SKU-2"),
        build.make_entry(
            partner, -50_000, when=day[1], kind="refunded", business_at=day[3], origin_at=day[1]
        ),
        build.make_entry(partner, 9_999, when=day[1], currency="USD"),
        build.make_entry(partner, 777, when=day[1], kind="ordered"),
    )
    return partner


class TestStatements:
    async def test_a_statement_agrees_with_the_accrual_and_explains_itself(self, api: Any, may: UUID) -> None:
        found = await ok(await api.get(f"/v1/statements/{may}/P1/2026-05-01"))
        assert (found["basis_minor"], found["rebate_minor"], found["accrued_minor"]) == (
            2_050_000,
            102_500,
            102_500,
        )
        assert found["up_to_date"] is True
        assert found["explanation"]["code"] == "pays"
        lines = found["lines"]["items"]
        assert [(line["basis_minor"], line["rebate_minor"]) for line in lines] == [
            (1_500_000, 75_000),
            (600_000, 30_000),
            (-50_000, -2_500),
        ]
        assert [e["code"] for e in lines[0]["explanation"]] == [
            "basis-net-sales",
            "tier-slices",
            "share-of-rebate",
        ]
        assert found["left_out"] == [
            {"code": "not-yet-paid", "entries": 1},
            {"code": "other-currency", "entries": 1},
        ]
        assert (found["exact_minor"], found["rounding_minor"]) == ("102500", "0")
        [cell] = (await ok(await api.get("/v1/statements", partner_id=str(may))))["items"]
        assert (cell["rebate_minor"], cell["statement"]) == (102_500, f"/v1/statements/{may}/P1/2026-05-01")
        steps = await ok(await api.get(f"/v1/accruals/{cell['cell_id']}/steps"))
        assert steps["items"] == found["steps"]
        assert sum(step["delta_minor"] for step in steps["items"]) == 102_500

    async def test_what_is_left_out_says_why(self, api: Any, may: UUID) -> None:
        found = await ok(await api.get(f"/v1/statements/{may}/P1/2026-05-01/left-out"))
        assert {item["explanation"]["code"]: item["explanation"]["sentence"] for item in found["items"]} == {
            "other-currency": "The entry is in USD; the plan counts CNY only.",
            "not-yet-paid": "The plan counts paid sales, and no payment of the order is recorded.",
        }

    async def test_pages_of_lines_are_one_statement(self, api: Any, may: UUID) -> None:
        path, lines, query = f"/v1/statements/{may}/P1/2026-05-01", [], {"limit": 1}
        while True:
            page = (await ok(await api.get(path, **query)))["lines"]
            lines += page["items"]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert len(lines) == 3
        assert sum(line["rebate_minor"] for line in lines) == 102_500

    async def test_reversed_entries_vanish(self, api: Any, desk: Any, build: Any, may: UUID) -> None:
        wrong = build.make_entry(may, 400_000, sku="WRONG")
        await desk.entries(wrong)
        await desk.entries(build.reversal(wrong))
        found = await ok(await api.get(f"/v1/statements/{may}/P1/2026-05-01"))
        assert (found["basis_minor"], len(found["lines"]["items"])) == (2_050_000, 3)

    async def test_an_empty_period_answers_why_it_is_empty(
        self, api: Any, desk: Any, build: Any, may: UUID
    ) -> None:
        found = await ok(await api.get(f"/v1/statements/{may}/P1/2026-06-01"))
        assert (found["rebate_minor"], found["cell_id"], found["explanation"]["code"]) == (
            0,
            None,
            "no-entries",
        )
        before = await ok(await api.get(f"/v1/statements/{may}/P1/2025-06-01"))
        assert before["explanation"]["code"] == "plan-not-in-force"
        await make_plan(api, "P2")
        other = await ok(await api.get(f"/v1/statements/{may}/P2/2026-05-01"))
        assert other["explanation"]["code"] == "plan-not-in-contract"
        unsigned = uuid7()
        await desk.entries(build.make_entry(unsigned, 2_000_000))
        none = await ok(await api.get(f"/v1/statements/{unsigned}/P1/2026-05-01"))
        assert (none["explanation"]["code"], none["left_out"]) == (
            "no-contract",
            [{"code": "no-contract", "entries": 1}],
        )

    async def test_a_plan_of_drafts_is_not_in_force(self, api: Any, desk: Any, build: Any) -> None:
        partner = uuid7()
        await ok(await api.post("/v1/plans", {"code": "P9", "name": "P"}), 201)
        await desk.contracts(build.contract_event(partner, "P9"))
        found = await ok(await api.get(f"/v1/statements/{partner}/P9/2026-05-01"))
        assert (found["explanation"]["code"], found["currency"]) == ("plan-not-in-force", None)

    async def test_refusals(self, api: Any, may: UUID) -> None:
        problem(await api.get(f"/v1/statements/{may}/NONE/2026-05-01"), 404, "unknown-plan")
        problem(await api.get(f"/v1/statements/{uuid7()}/P1/2026-05-01"), 404, "unknown-partner")
        off = problem(await api.get(f"/v1/statements/{may}/P1/2026-05-02"), 409, "not-a-period-start")
        assert off["period_start"] == "2026-05-01"
        problem(await api.get(f"/v1/accruals/{uuid7()}/steps"), 404, "unknown-cell")
        for day in ("1700000000", "2026-5-1", "2026-02-30", "0001-01-01", "9999-12-01", "x"):
            problem(await api.get(f"/v1/statements/{may}/P1/{day}"), 422, "invalid-request")
        for query in (
            {"period": "2026-13"},
            {"period": "0000"},
            {"currency": "cny"},
            {"partner_id": "me"},
            {"limit": 201},
        ):
            problem(await api.get("/v1/statements", **query), 422, "invalid-request")
        problem(await api.get("/v1/statements", cursor="zzzz"), 400, "bad-cursor")
        for key in ("", "CNY", "2026-02-30", "99999-01-01", "infinity", "2026-05-01T00:00:00+00:00"):
            sound_checksum = encode_cursor([key, uuid7()])
            problem(await api.get("/v1/statements", cursor=sound_checksum), 400, "bad-cursor")
            problem(await api.get("/v1/accruals", cursor=sound_checksum), 400, "bad-cursor")
        problem(await api.get(f"/v1/statements/{may}/P1/2026-05-01", cursor="zzzz"), 400, "bad-cursor")

    async def test_lists_filter_and_page(self, api: Any, desk: Any, build: Any, may: UUID) -> None:
        other = uuid7()
        await desk.contracts(build.contract_event(other, "P1"))
        for month in (4, 6, 7):
            await desk.entries(build.make_entry(other, 100, when=datetime(2026, month, 9, tzinfo=UTC)))

        async def starts(**query: Any) -> list[str]:
            found = await ok(await api.get("/v1/accruals", **query))
            return [cell["period"]["start_on"] for cell in found["items"]]

        assert await starts() == ["2026-07-01", "2026-06-01", "2026-05-01", "2026-04-01"]
        assert await starts(period="2026-Q2") == ["2026-06-01", "2026-05-01", "2026-04-01"]
        assert await starts(period="2026-05") == ["2026-05-01"]
        assert await starts(period="2025") == []
        assert await starts(plan_code="P1", currency="CNY", partner_id=str(may)) == ["2026-05-01"]
        assert await starts(plan_code="P2") == []
        first = await ok(await api.get("/v1/accruals", limit=3))
        rest = await ok(await api.get("/v1/accruals", limit=3, cursor=first["next_cursor"]))
        assert [c["period"]["start_on"] for c in rest["items"]] == ["2026-04-01"]

    async def test_a_changed_plan_shows_until_accruals_follow(self, api: Any, desk: Any, may: UUID) -> None:
        richer = DRAFT | {"tiers": [{"lower_minor": 0, "rate_ppm": 100_000}]}
        await ok(await api.post("/v1/plans/P1/versions", richer), 201)
        await ok(await api.post("/v1/plans/P1/versions/2/activate"))
        path = f"/v1/statements/{may}/P1/2026-05-01"
        before = await ok(await api.get(path))
        assert (before["rebate_minor"], before["accrued_minor"], before["up_to_date"]) == (
            205_000,
            102_500,
            False,
        )
        await desk.drain()
        after = await ok(await api.get(path))
        assert (after["accrued_minor"], after["up_to_date"], after["plan_version"]) == (205_000, True, 2)


class TestIsolation:
    async def test_a_partner_sees_its_own_and_nothing_else(
        self, api: Any, desk: Any, build: Any, may: UUID
    ) -> None:
        rival = uuid7()
        await make_plan(api, "SECRET")
        await desk.contracts(build.contract_event(rival, "SECRET"))
        await desk.entries(build.make_entry(rival, 3_000_000))
        own = await ok(await api.get(f"/v1/statements/{may}/P1/2026-05-01", may))
        assert own["rebate_minor"] == 102_500
        for path in ("/v1/accruals", "/v1/statements"):
            assert {c["partner_id"] for c in (await ok(await api.get(path, may)))["items"]} == {str(may)}
            assert (await ok(await api.get(path, may, partner_id=str(rival))))["items"] == []
        [cell] = (await ok(await api.get("/v1/accruals", partner_id=str(rival))))["items"]
        problem(await api.get(f"/v1/accruals/{cell['cell_id']}/steps", may), 404, "unknown-cell")
        problem(await api.get(f"/v1/statements/{rival}/P1/2026-05-01", may), 404, "unknown-partner")
        problem(await api.get(f"/v1/statements/{may}/SECRET/2026-05-01", may), 404, "unknown-plan")
        assert [p["code"] for p in (await ok(await api.get("/v1/plans", may)))["items"]] == ["P1"]
        problem(await api.get("/v1/plans/SECRET", may), 404, "unknown-plan")

    async def test_a_partner_sees_no_drafts(self, api: Any, may: UUID) -> None:
        await ok(await api.post("/v1/plans/P1/versions", DRAFT), 201)
        seen = await ok(await api.get("/v1/plans/P1", may))
        assert [version["state"] for version in seen["versions"]] == ["active"]

    async def test_a_partner_with_the_scope_still_writes_nothing(self, api: Any, may: UUID) -> None:
        for answer in (
            await api.post("/v1/plans", {"code": "MINE", "name": "Mine"}, may),
            await api.post("/v1/plans/P1/versions", DRAFT, may),
            await api.post("/v1/plans/P1/versions/1/activate", None, may),
        ):
            problem(answer, 403, "staff-only")

    async def test_rows_of_others_are_invisible_to_sql_itself(self, desk: Any, build: Any, may: UUID) -> None:
        for partner, expected in ((may, True), (uuid7(), False)):
            async with desk.database.read(Actor.partner(partner)) as tx:
                seen = [bool(await tx.value(count)) for count in COUNTS]
            assert seen == [expected] * len(COUNTS)

    @pytest.mark.parametrize(
        ("method", "path", "scope"),
        [
            ("GET", "/v1/plans", "plans:read"),
            ("POST", "/v1/plans", "plans:write"),
            ("POST", "/v1/plans/P1/versions/1/activate", "plans:write"),
            ("GET", "/v1/accruals", "statements:read"),
            ("GET", "/v1/statements", "statements:read"),
        ],
    )
    async def test_each_route_asks_for_its_scope(self, api: Any, method: str, path: str, scope: str) -> None:
        others = " ".join({"plans:read", "plans:write", "statements:read"} - {scope})
        headers = {"authorization": f"Bearer {api.token(scopes=others)}"}
        body = {"code": "P1", "name": "P"} if method == "POST" else None
        problem(await api.bare(method, path, headers=headers, json=body), 403, "scope-missing")
        problem(await api.bare(method, path), 401, "token-missing")
