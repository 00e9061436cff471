"""What a platform puts into the post: one body under one topic, and how it is signed on the way.

Pure values shared by the `payloads_*` modules, which write letters, and `plan`, which says when they are sent.
"""

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Letter:
    """One message. `carries` is order, refund or deletion; `at` is when the platform has it to send.

    `message_id` stays the same when the message is sent again.
    """

    topic: str
    body: bytes
    message_id: str
    at: datetime
    carries: str = "order"


def body(document: Mapping[str, Any]) -> bytes:
    """A JSON body in UTF-8, with Chinese as it is."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def digest(key: bytes, content: bytes) -> str:
    """Base64 of HMAC-SHA256, as all three platforms sign."""
    return base64.b64encode(hmac.digest(key, content, "sha256")).decode()
