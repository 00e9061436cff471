"""House rules that no linter knows, read from the syntax trees of the whole repository.

Each check is a function from a module's tree to what is wrong with it, and is seen to fail on planted code.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES_MAX = 400
DATABASE = "shared/kit/src/channel_kit/database.py"

Check = Callable[[ast.AST], list[str]]


def files(pattern: str) -> list[Path]:
    """Python files of the repository; a pattern that finds nothing is an error of this page."""
    found = sorted(
        path
        for path in ROOT.glob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    )
    assert found, f"nothing matches {pattern}"
    return found


def sources() -> list[Path]:
    return [*files("shared/*/src/**/*.py"), *files("services/*/src/**/*.py"), *files("cli/src/**/*.py")]


def pure_modules() -> list[Path]:
    """What computes with money: rules, values, and the interchangeable shapes of plans."""
    return [
        path
        for path in files("services/*/src/**/*.py")
        if path.name in ("rules.py", "values.py") or "shapes" in path.parts
    ]


def breaches(paths: list[Path], check: Check) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{fault}" for path in paths for fault in check(ast.parse(path.read_text()))
    ]


def fault(node: ast.expr | ast.stmt, what: str) -> str:
    return f"{node.lineno}: {what}"


# -- transactions ------------------------------------------------------------------------------------------

_ENDS = re.compile(
    r"\s*(begin|commit|rollback|start\s+transaction|savepoint|abort|end)\s*;?\s*", re.IGNORECASE
)
_STATEMENT = {"execute", "rows", "row", "value", "text", "exec_driver_sql"}
_TRANSACTION = {"commit", "rollback", "begin", "begin_nested", "begin_twophase"}


def transaction_calls(tree: ast.AST) -> list[str]:
    """`x.commit()` and its like, the same as SQL, and the driver's connection.

    Kafka's `commit(offsets)` has an argument and is no transaction.
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    texts = [
        (call, _text(call.args[0])) for call in calls if call.args and set(_names(call.func)) & _STATEMENT
    ]
    return [
        *(
            fault(call, f"{call.func.attr}() outside channel_kit.database")
            for call in calls
            if isinstance(call.func, ast.Attribute) and call.func.attr in _TRANSACTION and not call.args
        ),
        *(fault(call, f"{text!r} as a statement") for call, text in texts if _ENDS.fullmatch(text)),
        *(
            fault(node, "the driver outside channel_kit.database")
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr == "driver"
        ),
    ]


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_transactions_begin_and_end_in_one_place() -> None:
    assert breaches([path for path in sources() if path != ROOT / DATABASE], transaction_calls) == []
    assert breaches([ROOT / DATABASE], transaction_calls), "the one place must be seen, or nothing is"


# -- money -------------------------------------------------------------------------------------------------


def floats(tree: ast.AST) -> list[str]:
    """Float literals, `float`, and true division, which makes floats of integers."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            found.append(fault(node, f"the float {node.value!r}"))
        elif isinstance(node, ast.Name) and node.id == "float":
            found.append(fault(node, "float"))
        elif (
            isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div) and not _exact(node)
        ):
            found.append(fault(node, "a true division"))
    return found


def _exact(node: ast.BinOp | ast.AugAssign) -> bool:
    """Whether one sees at the place itself that fractions are divided."""
    sides = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
    return any(
        "Fraction" in set(_names(part))
        for side in sides
        for part in ast.walk(side)
        if isinstance(part, ast.Call)
    )


def test_no_float_comes_near_money() -> None:
    assert breaches(pure_modules(), floats) == []


# -- secrets -----------------------------------------------------------------------------------------------

_SECRET_NAMES = re.compile(r"signature|hmac|(^|_)(mac|digest|hexdigest|password|secret)($|_)", re.IGNORECASE)


def _names(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Call):
        yield from _names(node.func)
    elif isinstance(node, ast.Subscript):
        yield from _names(node.value)
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            yield node.slice.value
    elif isinstance(node, ast.Await):
        yield from _names(node.value)


def leaky_comparisons(tree: ast.AST) -> list[str]:
    """`==`, `!=`, `in` with a signature, a MAC or a secret: they tell by their time how much was right.

    In modules that use `hmac` every digest counts, too; a plain content hash elsewhere is no secret.
    """
    uses_hmac = any(
        isinstance(node, ast.Import | ast.ImportFrom)
        and "hmac" in {getattr(node, "module", None), *(alias.name for alias in node.names)}
        for node in ast.walk(tree)
    )
    return [
        fault(node, f"{name} is not compared by hmac.compare_digest")
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn)
        for name in _compared(node)
        if _SECRET_NAMES.search(name) and (uses_hmac or "digest" not in name.lower())
    ]


def _compared(node: ast.Compare) -> set[str]:
    """What is compared with what; a comparison with a constant tells nobody anything."""
    sides = [node.left, *node.comparators]
    if any(isinstance(side, ast.Constant) for side in sides):
        return set()
    return {name for side in sides for name in _names(side)}


def test_secrets_are_compared_in_constant_time() -> None:
    assert breaches(sources(), leaky_comparisons) == []


# -- size --------------------------------------------------------------------------------------------------


def too_long(path: Path, lines_max: int = LINES_MAX) -> bool:
    return len(path.read_text().splitlines()) > lines_max


def test_no_file_is_too_long_to_read() -> None:
    read = [path for path in files("**/*.py") if not {"versions", "schemas"} & set(path.parts)]
    assert len(read) > 100
    assert [str(path.relative_to(ROOT)) for path in read if too_long(path)] == []


def test_a_long_file_is_found(tmp_path: Path) -> None:
    long, short = tmp_path / "long.py", tmp_path / "short.py"
    long.write_text("x = 1\n" * (LINES_MAX + 1))
    short.write_text("x = 1\n" * LINES_MAX)
    assert (too_long(long), too_long(short)) == (True, False)


# -- planted code ------------------------------------------------------------------------------------------

BAD: list[tuple[Check, str]] = [
    (transaction_calls, "async def f(c):\n    await c.commit()"),
    (transaction_calls, "def f(c): c.rollback()"),
    (transaction_calls, "async def f(e):\n    async with e.begin() as c: pass"),
    (transaction_calls, "async def f(c):\n    async with c.begin_nested(): pass"),
    (transaction_calls, "async def f(tx):\n    await tx.execute('COMMIT;')"),
    (transaction_calls, "async def f(tx):\n    await tx.rows(' start transaction ')"),
    (transaction_calls, "async def f(tx):\n    await tx.driver.fetch('select 1')"),
    (floats, "RATE = 0.1"),
    (floats, "RATE = 1e-6"),
    (floats, "def f(text): return float(text)"),
    (floats, "def f(rate: float) -> None: ..."),
    (floats, "def f(a, b): return a / b"),
    (floats, "def f(a, b):\n    a /= b"),
    (leaky_comparisons, "def f(signature, given): return signature == given"),
    (leaky_comparisons, "def f(h, g): return h['x-signature'] != g"),
    (leaky_comparisons, "def f(g, signatures): return g in signatures"),
    (leaky_comparisons, "import hmac\ndef f(k, b, g): return hmac.new(k, b, 'sha256').hexdigest() == g"),
    (leaky_comparisons, "from hmac import digest\ndef f(k, b, g): return digest(k, b, 'sha256') == g"),
    (leaky_comparisons, "def f(client, given): return client.secret == given"),
]
GOOD: list[tuple[Check, str]] = [
    (transaction_calls, "async def f(kafka, offsets):\n    await kafka.commit(offsets)"),
    (transaction_calls, "async def f(tx):\n    await tx.execute('commit work to nothing')"),
    (transaction_calls, "def f(audit):\n    audit.note('commit')"),
    (floats, "def f(a, b): return a // b + a % b"),
    (floats, "HALF = Fraction(1, 2)"),
    (floats, "def f(a, b): return Fraction(a) / b"),
    (leaky_comparisons, "import hmac\ndef f(signature, g): return hmac.compare_digest(signature, g)"),
    (leaky_comparisons, "def f(signature): return signature == ''"),
    (leaky_comparisons, "import hashlib\ndef f(b, d): return hashlib.sha256(b).digest() == d"),
]


@pytest.mark.parametrize(("check", "code"), BAD)
def test_planted_breaches_are_found(check: Check, code: str) -> None:
    assert check(ast.parse(code)) != []


@pytest.mark.parametrize(("check", "code"), GOOD)
def test_sound_code_is_left_alone(check: Check, code: str) -> None:
    assert check(ast.parse(code)) == []
