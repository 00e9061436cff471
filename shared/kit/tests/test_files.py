"""Tables in files: as spreadsheets and tills write them, or refused with the reason."""

import contextlib
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_kit import files
from channel_kit.files import BadFile, ImportReport, RowVerdict, read_table

REQUIRED = ["sku", "quantity"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_delimiters_and_line_ends(encoding: str, delimiter: str, end: str) -> None:
    lines = [["sku", "quantity", "备注"], ["A-1", "1.5", "春茶"], ["A-2", "2", ""]]
    raw = end.join(delimiter.join(line) for line in lines).encode(encoding)
    table = read_table(raw, required=REQUIRED, optional=["备注"])
    assert table.header == ("sku", "quantity", "备注")
    assert table.rows == [
        {"sku": "A-1", "quantity": "1.5", "备注": "春茶"},
        {"sku": "A-2", "quantity": "2", "备注": ""},
    ]
    assert list(table.numbered()) == [(2, table.rows[0]), (3, table.rows[1])]


def test_headers_are_matched_by_meaning() -> None:
    table = read_table("　ＳＫＵ ,QUANTITY,other\nA,1,x\n".encode(), required=REQUIRED, optional=["location"])
    assert table.rows == [{"sku": "A", "quantity": "1", "location": ""}]


def test_without_names_every_column_is_kept() -> None:
    table = read_table(b"Sku,Other Name,\nA,1,\n")
    assert table.header == ("sku", "other name")
    assert table.rows == [{"sku": "A", "other name": "1"}]


def test_blank_lines_are_skipped_and_lines_counted_as_in_the_file() -> None:
    raw = b'\n sku,quantity\n\n"A\nB",1\n , \nC,2\n\n'
    table = read_table(raw, required=REQUIRED)
    assert table.rows == [{"sku": "A\nB", "quantity": "1"}, {"sku": "C", "quantity": "2"}]
    assert table.lines == [4, 7]


def test_short_rows_are_filled_and_long_ones_refused() -> None:
    assert read_table(b"sku,quantity\nA\nB,1,,\n", required=REQUIRED).rows == [
        {"sku": "A", "quantity": ""},
        {"sku": "B", "quantity": "1"},
    ]
    with pytest.raises(BadFile, match="Line 3"):
        read_table(b"sku,quantity\nA,1\nB,1,2\n", required=REQUIRED)


def test_quoted_delimiters_stay_inside_their_cell() -> None:
    table = read_table(b'sku,quantity\n"a,b;c\td ""e""",1\n', required=REQUIRED)
    assert table.rows[0]["sku"] == 'a,b;c\td "e"'


def test_tabs_that_keep_long_numbers_as_text_are_removed() -> None:
    assert (
        read_table(b"sku,quantity\n\t6917878001234567,1\n", required=REQUIRED).rows[0]["sku"]
        == "6917878001234567"
    )


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"), (b"\n\n  \n", "empty"), (b"\xef\xbb\xbf", "empty"), (b"sku\nA\n", "quantity"),
        (b"sku,quantity,Sku\n", "more than once"), (b"sku,quantity\nA\0,1\n", r"U\+0000"),
        (b"PK\x03\x04\x14\x00\x06\x00", r"U\+0000"), (b'sku,quantity\n"A,1\n', "sound CSV"),
        (b'sku,quantity\n"A"x,1\n', "sound CSV"), (b"sku,quantity\n" + b"a" * 200_000 + b",1", "sound CSV"),
        (b",".join(b"c%d" % n for n in range(201)) + b"\n", "200 columns"),
        ("sku,quantity\nA,1\n".encode("utf-16-le"), r"U\+0000"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(BadFile, match=said) as refused:
        read_table(raw, required=REQUIRED)
    assert refused.value.status == 422
    assert refused.value.code == "bad-file"


def test_missing_and_doubled_columns_are_named() -> None:
    with pytest.raises(BadFile) as refused:
        read_table(b"x,y\n", required=REQUIRED)
    assert refused.value.extra == {"columns": ["sku", "quantity"]}
    with pytest.raises(BadFile) as refused:
        read_table(b"sku,quantity,quantity\n", required=REQUIRED)
    assert refused.value.extra == {"columns": ["quantity"]}


def test_a_column_that_is_not_asked_for_may_be_doubled() -> None:
    assert read_table(b"sku,quantity,x,x\nA,1,2,3\n", required=REQUIRED, optional=[]).rows == [
        {"sku": "A", "quantity": "1"}
    ]


def test_bounds_on_size_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadFile, match="bytes"):
        read_table(b" " * (files.FILE_BYTES_MAX + 1))
    assert len(read_table(b"sku,quantity\n" + b"A,1\n" * files.ROWS_MAX, required=REQUIRED).rows) == 100_000
    with pytest.raises(BadFile, match="rows"):
        read_table(b"sku,quantity\n" + b"A,1\n" * (files.ROWS_MAX + 1), required=REQUIRED)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_refused(raw: bytes) -> None:
    for content in (raw, b"sku,quantity\n" + raw):
        with contextlib.suppress(BadFile):  # Any other exception fails the test.
            assert set(read_table(content, required=REQUIRED).header) == set(REQUIRED)


cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).map(str.strip)


@given(st.lists(st.tuples(cells.filter(bool), cells), max_size=20), st.sampled_from([",", ";", "\t"]))
def test_written_cells_are_read_back(rows: list[tuple[str, str]], delimiter: str) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(REQUIRED)
    writer.writerows(rows)
    table = read_table(out.getvalue().encode(), required=REQUIRED)
    assert [tuple(row.values()) for row in table.rows] == rows


def test_a_report_counts_and_shows_the_first_refusals() -> None:
    verdicts = [RowVerdict(line=line, outcome="refused", reason="no such item") for line in range(300, 0, -1)]
    verdicts += [RowVerdict(line=1000, outcome="created"), RowVerdict(line=1001, outcome="unchanged")]
    report = ImportReport.of(verdicts)
    assert (report.rows, report.created, report.changed, report.unchanged, report.refused) == (
        302,
        1,
        0,
        1,
        300,
    )
    assert [verdict.line for verdict in report.refusals] == list(range(1, 201))
