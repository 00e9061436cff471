"""Who may call what here: most routes are for staff; a partner sees availability and its own reservations.

Used by every noun's routes. Row level security stands behind it: a partner's database role has no rights on stock.
"""

from typing import Any

from fastapi import Depends, Request

from channel_kit.auth import Caller, scope
from channel_kit.problems import Problem


class StaffOnly(Problem):
    status = 403
    code = "staff-only"
    title = "Partners may not use this; ask for availability, or for your own reservations"


def staff(*scopes: str) -> Any:
    """A route's demand: these scopes, and a caller that is no partner. The value is the `Caller`."""
    authorise = scope(*scopes).dependency

    async def authorise_staff(request: Request) -> Caller:
        caller: Caller = await authorise(request)
        if caller.partner_id is not None:
            raise StaffOnly
        return caller

    authorise_staff.guard = True  # type: ignore[attr-defined]  # the kit's start-up check looks for it
    authorise_staff.scopes = scopes  # type: ignore[attr-defined]  # for the OpenAPI document
    return Depends(authorise_staff)
