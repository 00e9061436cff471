"""Just enough of PostgreSQL's frontend protocol to see a COMMIT pass by, and what the transaction did before it.

Pure: fed with the bytes that a client sends, in whatever pieces they come. The services' driver asks for TLS first and
goes on in plain text when refused, and says BEGIN and COMMIT as simple queries; statements are prepared and bound.
"""

import struct
from dataclasses import dataclass, field

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
_WRITES = (b"insert ", b"update ", b"delete ")


@dataclass(frozen=True, slots=True)
class Commit:
    """A COMMIT that has come completely; `statements` are those of its transaction that change something."""

    statements: tuple[bytes, ...]


@dataclass
class Frontend:
    """What one connection's client has said so far. `user` is empty until it has introduced itself."""

    user: str = ""
    _buffer: bytearray = field(default_factory=bytearray)
    _introduced: bool = False
    _prepared: dict[bytes, bytes] = field(default_factory=dict)
    _statements: list[bytes] = field(default_factory=list)

    def feed(self, data: bytes) -> Commit | None:
        """Takes what was sent; the COMMIT that it completes, if it does."""
        self._buffer += data
        found: Commit | None = None
        while (message := self._next()) is not None:
            kind, body = message
            if kind == b"":
                self._introduce(body)
            elif kind == b"Q":
                found = self._simple(body.rstrip(b"\0")) or found
            elif kind == b"P":
                name, _, rest = body.partition(b"\0")
                self._prepared[name] = rest.partition(b"\0")[0]
            elif kind == b"B":
                self._note(self._prepared.get(body.split(b"\0", 2)[1], b""))
        return found

    def _next(self) -> tuple[bytes, bytes] | None:
        """The next whole message, taken off the buffer: its type (none before the introduction) and its body."""
        head = 1 if self._introduced else 0
        if len(self._buffer) < head + 4:
            return None
        (length,) = struct.unpack_from(">i", self._buffer, head)
        if len(self._buffer) < head + length:
            return None
        message = bytes(self._buffer[:head]), bytes(self._buffer[head + 4 : head + length])
        del self._buffer[: head + length]
        return message

    def _introduce(self, body: bytes) -> None:
        if struct.unpack_from(">i", body)[0] in (_SSL_REQUEST, _GSS_REQUEST):
            return  # the answer is "no", and the introduction follows
        self._introduced = True
        words = body[4:].split(b"\0")
        self.user = dict(zip(words[::2], words[1::2], strict=False)).get(b"user", b"").decode()

    def _simple(self, sql: bytes) -> Commit | None:
        word = sql.strip(b"; \n").upper()
        if word.startswith((b"BEGIN", b"ROLLBACK")) and b" TO " not in word:
            self._statements.clear()
        elif word == b"COMMIT":
            done = Commit(tuple(self._statements))
            self._statements.clear()
            return done
        else:
            self._note(sql)
        return None

    def _note(self, sql: bytes) -> None:
        if any(word in sql.lower() for word in _WRITES):
            self._statements.append(sql)
