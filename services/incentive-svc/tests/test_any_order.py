"""Whatever comes in whatever order, the cells end as a model says that sums everything from nothing.

Programs of posts, reversals, contracts, activations and drains run against a real PostgreSQL. The model knows
neither segments nor windows nor cells: it asks each entry for its month in Shanghai, its contract and its version.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channel_kit.ids import uuid7

months = st.integers(1, 6)
posts = st.lists(
    st.tuples(
        st.integers(-500, 3_000), months, st.sampled_from(["paid", "refunded", "ordered"]), st.booleans()
    ),
    min_size=1,
    max_size=5,
)
versions = st.fixed_dictionaries(
    {
        "valid_from": months.map(lambda month: date(2026, month, 1)),
        "shape": st.sampled_from(["marginal", "all_units"]),
        "rates": st.tuples(st.integers(0, 99_999), st.integers(0, 99_999)),
        "recognition": st.sampled_from(["paid", "ordered"]),
        "basis": st.sampled_from(["net", "net_sales"]),
    }
)
steps = st.one_of(
    st.tuples(st.just("post"), posts),
    st.tuples(st.just("post"), posts),
    st.tuples(st.just("reverse"), st.integers(0, 10**6)),
    st.tuples(st.just("contract"), st.tuples(st.integers(1, 3), months, st.none() | months, st.booleans())),
    st.tuples(st.just("activate"), versions),
    st.tuples(st.just("drain"), st.none()),
)
AXIS = {"paid": ("paid", "refunded"), "ordered": ("ordered",)}


@dataclass
class Model:
    """All that was said, as plain lists."""

    entries: list[Any] = field(default_factory=list)
    reversed: set[UUID] = field(default_factory=set)
    contracts: list[tuple[int, datetime, datetime | None, bool]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)

    def cells(self) -> dict[date, tuple[int, int]]:
        sums: dict[date, int] = defaultdict(int)
        for entry in self.entries:
            month = (entry.origin_at + timedelta(hours=8)).date().replace(day=1)
            version = self._version(month)
            if version and self._named(entry.origin_at) and entry.kind in AXIS[version["recognition"]]:
                sums[month] += entry.net_minor - (entry.tax_minor if version["basis"] == "net_sales" else 0)
        return {month: (basis, self._owed(month, basis)) for month, basis in sums.items()}

    def _version(self, month: date) -> dict[str, Any] | None:
        return next((v for v in reversed(self.versions) if v["valid_from"] <= month), None)

    def _named(self, at: datetime) -> bool:
        begun = [contract for contract in self.contracts if contract[1] <= at]
        if not begun:
            return False
        _, _, end, named = max(begun)
        return named and (end is None or at < end)

    def _owed(self, month: date, basis: int) -> int:
        version = self._version(month)
        if version is None or basis <= 0:
            return 0
        low, high = (Decimal(rate) / 1_000_000 for rate in version["rates"])
        if version["shape"] == "all_units":
            exact = basis * (high if basis >= 1_000 else low)
        else:
            exact = min(basis, 1_000) * low + max(basis - 1_000, 0) * high
        return int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=st.lists(steps, min_size=3, max_size=14))
async def test_any_program_ends_as_the_model_says(
    desk: Any, build: Any, program: list[tuple[str, Any]]
) -> None:
    partner, contract_id, code = uuid7(), uuid7(), f"P-{uuid7()}"
    model = Model()
    for verb, given_ in program:
        if verb == "post":
            new = [
                build.make_entry(
                    partner,
                    net,
                    when=datetime(2026, month, 28, 20, tzinfo=UTC) + timedelta(days=3 if late else 0),
                    kind=kind,
                    tax_minor=net // 10,
                    sku="A" if late else None,
                )
                for net, month, kind, late in given_
            ]
            model.entries += new
            await desk.entries(*new)
        elif verb == "reverse":
            standing = [
                e for e in model.entries if e.entry_id not in model.reversed and not e.reverses_entry_id
            ]
            if standing:
                target = standing[given_ % len(standing)]
                model.reversed.add(target.entry_id)
                model.entries.append(build.reversal(target))
                await desk.entries(model.entries[-1])
        elif verb == "contract":
            number, start, length, named = given_
            if any(known[0] == number for known in model.contracts):
                continue
            starts_at = datetime(2026, start, 15, tzinfo=UTC)
            ends_at = starts_at + timedelta(days=30 * length) if length else None
            model.contracts.append((number, starts_at, ends_at, named))
            await desk.contracts(
                build.contract_event(
                    partner,
                    *([code] if named else ["OTHER"]),
                    contract_id=contract_id,
                    version=number,
                    valid_from=starts_at,
                    valid_to=ends_at,
                )
            )
        elif verb == "activate":
            rates = given_["rates"]
            terms = {name: value for name, value in given_.items() if name != "rates"}
            model.versions.append(given_)
            await desk.plan(
                build.make_terms(code=code, tiers=build.tiers((0, rates[0]), (1_000, rates[1])), **terms)
            )
        else:
            await desk.drain()
    await desk.drain()
    got = {month: figures for month, figures in (await desk.accrued(partner)).items() if figures != (0, 0)}
    assert got == {month: figures for month, figures in model.cells().items() if figures != (0, 0)}
    assert await desk.value(
        """
        select coalesce(bool_and(c.accrued_minor = a.deltas and c.basis_minor = a.slices), true) from cell c
        join (select cell_id, sum(delta_minor) as deltas,
                     sum((select coalesce(sum((s->>'basis_delta_minor')::bigint), 0)
                          from jsonb_array_elements(slices) s)) as slices
              from accrual group by cell_id) a using (cell_id)
        where c.partner_id = $1
        """,
        partner,
    )
