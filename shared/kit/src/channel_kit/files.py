"""Tables in files: what every bulk import reads and what it answers.

Reads CSV as it comes from spreadsheets and tills: UTF-8 with or without a mark, GB18030, comma, semicolon
or tab. A file that is no table is refused whole (`bad-file`); a bad row is never this module's business:
imports judge each row and say so in an `ImportReport`.
"""

import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from charset_normalizer import from_bytes
from fastapi import Depends, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.types import Message

from channel_kit.http import View, read_capped, require_media_type
from channel_kit.problems import BadRequest, ContentTooLarge, Unprocessable

FILE_BYTES_MAX: Final = 20 * 1024 * 1024
ROWS_MAX: Final = 100_000
COLUMNS_MAX: Final = 200
REFUSED_SHOWN_MAX: Final = 200
_DELIMITERS: Final = ",;\t"
_RAW_TYPES: Final = ("text/csv", "application/csv", "application/octet-stream", "text/plain")

Outcome = Literal["created", "changed", "unchanged", "refused"]


class BadFile(Unprocessable):
    code = "bad-file"
    title = "The file is not a table that can be imported; correct it as the detail says"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows by column name, texts without surrounding blanks; `lines[i]` is the file's line of `rows[i]`."""

    header: tuple[str, ...]
    rows: list[dict[str, str]]
    lines: list[int]

    def numbered(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Each row with the number of its first line in the file; the header is line 1."""
        return zip(self.lines, self.rows, strict=True)


class RowVerdict(View):
    """What became of one row. `reason` says what to correct when it was refused."""

    line: int
    outcome: Outcome
    reason: str | None = None


class ImportReport(View):
    """What became of a file: a count per outcome, and the first refused rows."""

    rows: int
    created: int
    changed: int
    unchanged: int
    refused: int
    refusals: list[RowVerdict]

    @classmethod
    def of(cls, verdicts: Sequence[RowVerdict]) -> "ImportReport":
        """The report over all rows, in any order."""
        count = dict.fromkeys(("created", "changed", "unchanged", "refused"), 0)
        for verdict in verdicts:
            count[verdict.outcome] += 1
        refused = sorted((each for each in verdicts if each.outcome == "refused"), key=lambda each: each.line)
        return cls(rows=len(verdicts), refusals=refused[:REFUSED_SHOWN_MAX], **count)


def read_table(raw: bytes, *, required: Sequence[str] = (), optional: Sequence[str] | None = None) -> Table:
    """The table in a CSV file. Column names are compared without case, blanks and width.

    The rows have the names as asked for in `required` and `optional`; an absent optional column is "".
    Other columns are left out, or all kept in lower case when `optional` is None. Raises `BadFile`.
    A large file takes seconds: routes call this through `asyncio.to_thread`.
    """
    if len(raw) > FILE_BYTES_MAX:
        raise BadFile(f"Send at most {FILE_BYTES_MAX} bytes at a time.")
    text = _decode(raw)
    if "\0" in text:
        raise BadFile("It holds U+0000. Save it as CSV in UTF-8; a workbook is not read here.")
    first_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    try:
        return _read(
            csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), required, optional
        )
    except csv.Error as error:
        raise BadFile(f"It is not sound CSV: {error}.") from None


def _read(reader: Any, required: Sequence[str], optional: Sequence[str] | None) -> Table:
    records = _records(reader)
    first = next(records, None)
    if first is None:
        raise BadFile("It is empty; the first line must name the columns.")
    found = [_plain(name) for name in first[1]]
    while found and not found[-1]:
        found.pop()
    columns = _columns(found, required, optional)
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    for line, cells in records:
        if len(rows) == ROWS_MAX:
            raise BadFile(f"Send at most {ROWS_MAX} rows at a time.")
        if any(cells[len(found) :]):
            raise BadFile(f"Line {line} has more cells than the header has columns.")
        lines.append(line)
        rows.append({name: cells[at] if at is not None and at < len(cells) else "" for name, at in columns})
    return Table(tuple(name for name, _ in columns), rows, lines)


def _records(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Records that are not blank, with the number of their first line; a quoted cell may span lines."""
    while True:
        line = reader.line_num + 1
        record = next(reader, None)
        if record is None:
            return
        cells = [cell.strip() for cell in record]
        if any(cells):
            yield line, cells


def _columns(
    found: list[str], required: Sequence[str], optional: Sequence[str] | None
) -> list[tuple[str, int | None]]:
    """Each wanted name with its place in the file. Raises `BadFile` for missing or doubled columns."""
    if len(found) > COLUMNS_MAX:
        raise BadFile(f"It has more than {COLUMNS_MAX} columns.")
    wanted = {_plain(name): name for name in (*required, *(optional or ()))}
    if optional is None:
        wanted = {name: name for name in found if name} | wanted
    doubled = sorted({name for name in found if name in wanted and found.count(name) > 1})
    if doubled:
        raise BadFile(f"These columns appear more than once: {', '.join(doubled)[:300]}.", columns=doubled)
    missing = [name for name in required if _plain(name) not in found]
    if missing:
        raise BadFile(f"These columns are missing: {', '.join(missing)}.", columns=missing)
    places = {name: at for at, name in enumerate(found)}
    return [(name, places.get(plain)) for plain, name in wanted.items()]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _decode(raw: bytes) -> str:
    """Text of bytes whose encoding nobody said: UTF-8 if it is, then GB18030, then a guess."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    guess = from_bytes(raw[: 256 * 1024]).best()
    try:
        return raw.decode(guess.encoding) if guess is not None else _unreadable()
    except (UnicodeDecodeError, LookupError):
        return _unreadable()


def _unreadable() -> str:
    raise BadFile("Its encoding was not recognised; save it as CSV in UTF-8.")


def upload_body(*, bytes_max: int = FILE_BYTES_MAX) -> Any:
    """A dependency that reads an uploaded file as bytes: the multipart field `file`, or a raw text/csv body.

    Answers 413 beyond `bytes_max`, 415 for another media type, 400 when there is no such field.
    """

    async def read(request: Request) -> bytes:
        media_type = require_media_type(request, "multipart/form-data", *_RAW_TYPES)
        # A form is a little larger than its file, by boundaries and headers.
        limit = bytes_max if media_type in _RAW_TYPES else bytes_max + 16 * 1024
        raw = await read_capped(request, limit)
        content = raw if media_type in _RAW_TYPES else await _file_of(request, raw)
        if len(content) > bytes_max:
            raise ContentTooLarge(f"Send at most {bytes_max} bytes.")
        return content

    binary = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {"type": "object", "required": ["file"], "properties": {"file": binary}}
    read.body_content = {  # type: ignore[attr-defined]  # openapi documents the body from this
        "multipart/form-data": {"schema": form},
        "text/csv": {"schema": {"type": "string"}},
    }
    return Depends(read)


async def _file_of(request: Request, raw: bytes) -> bytes:
    async def receive() -> Message:
        return {"type": "http.request", "body": raw, "more_body": False}

    try:
        async with Request(request.scope, receive).form(max_files=1, max_fields=20) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise BadRequest("Send the file as the multipart field named file.")
            return await file.read()
    except (MultiPartException, UnicodeDecodeError, KeyError, ValueError):
        raise BadRequest("The multipart body cannot be read.") from None
