"""The one factory of HTTP clients that call out.

Every client has time-outs and a bounded pool and never follows a redirect. Only addresses from our own
configuration are called (the command line talks to the services); no address that a stranger chose, so
there is no filter of addresses here. Webhooks to partners will need one before they may use this.
"""

from typing import Final

import httpx

CONNECT_SECONDS_MAX: Final = 3.0
ANSWER_SECONDS_MAX: Final = 30.0
CONNECTIONS_MAX: Final = 20


def client(
    base_url: str = "", *, token: str | None = None, answer_seconds: float = ANSWER_SECONDS_MAX
) -> httpx.AsyncClient:
    """An asynchronous client; `token` is the bearer of every request. Close it, or use `async with`."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=httpx.Timeout(answer_seconds, connect=CONNECT_SECONDS_MAX),
        limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
        follow_redirects=False,
        trust_env=False,
    )
