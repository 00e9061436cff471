"""Secrets at rest: sealed under the deployment's key, so that a dump of a database opens nothing.

AES-256-GCM, a fresh nonce each, bound to the row it belongs to so that rows cannot be swapped. Used for shop
secrets and signing keys; passwords and client secrets are hashed instead and never come here.
"""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

_NONCE_BYTES = 12


class Vault:
    """Seals and opens secrets. Raises ValueError unless the key is base64 of 32 bytes."""

    def __init__(self, secret_key: SecretStr | None) -> None:
        if secret_key is None:
            raise ValueError("set QUDAO_SECRET_KEY to base64 of 32 random bytes")
        try:
            raw = base64.b64decode(secret_key.get_secret_value(), validate=True)
        except ValueError:
            raw = b""
        if len(raw) != 32:
            raise ValueError("QUDAO_SECRET_KEY must be base64 of exactly 32 bytes")
        self._cipher = AESGCM(raw)

    def close(self, secret: str, owner: str) -> bytes:
        """`secret` sealed for the row called `owner`."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), owner.encode())

    def open(self, sealed: bytes, owner: str) -> str | None:
        """The secret; None when it was sealed under another key, for another row, or altered."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode()).decode()
        except InvalidTag:
            return None
