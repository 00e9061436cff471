"""Where a process may be killed on purpose, *between* two steps. A no-op unless `QUDAO_FAILPOINT` names it.

`QUDAO_FAILPOINT=relay.after_ack:3` kills this process with SIGKILL the third time it passes there.
Imports nothing of ours, since every mechanism of the kit calls it.
"""

import os
import signal

_NAME, _, _COUNT = os.environ.get("QUDAO_FAILPOINT", "").partition(":")
_left = int(_COUNT or 1)


def failpoint(name: str) -> None:
    """Dies here if this point is named and its count is reached."""
    global _left
    if name == _NAME:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
