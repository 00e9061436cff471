"""Money as integers: exponents of currencies, exact parsing, one rounding, fair splitting.

Pure: standard library only, so `rules` may import it. No float comes in or goes out. Amounts are
minor units of the ISO 4217 exponent within ±10^15; text becomes minor units once, half to even, and
the caller keeps the exact remainder. Adapters, rules and the incentive engine call this.
"""

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation
from fractions import Fraction
from math import lcm
from typing import Final

MINOR_UNITS_MAX: Final = 10**15
DIGITS_MAX: Final = 40
EXPONENT_MAX: Final = 40

_EXPONENT_0 = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_EXPONENT_3 = "BHD IQD JOD KWD LYD OMR TND"
_EXPONENT_4 = "CLF UYW"
_EXPONENT_2 = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF
    CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL
    HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU
    MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR
    SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED
    VES WST XCD XCG YER ZAR ZMW ZWG
    ANG BGN HRK
"""  # The last row is retired, yet documents of past years still come in it.
EXPONENTS: Final[dict[str, int]] = {
    code: exponent
    for exponent, codes in ((0, _EXPONENT_0), (2, _EXPONENT_2), (3, _EXPONENT_3), (4, _EXPONENT_4))
    for code in codes.split()
}

# ASCII digits only: Decimal itself also reads "1_000", " 12", "NaN" and Arabic-Indic digits.
_NUMBER = re.compile(
    r"[+-]?(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]+))?(?:[eE](?P<power>[+-]?[0-9]{1,3}))?", re.A
)


# Wide enough for every bound above, whatever context the caller runs in; a lost digit would raise.
_EXACT: Final = Context(prec=4 * DIGITS_MAX, traps=[Inexact, InvalidOperation])


class UnknownCurrency(ValueError):
    """The code is not an active ISO 4217 currency in capitals."""


class BadNumber(ValueError):
    """The text is not a plain decimal number, or it is beyond the bounds."""


def exponent(currency: str) -> int:
    """The number of decimal places of a currency's minor unit. Raises `UnknownCurrency`."""
    try:
        return EXPONENTS[currency]
    except (KeyError, TypeError):
        raise UnknownCurrency("use an active ISO 4217 currency code in capitals, such as CNY") from None


def parse_decimal(value: str | int | Decimal) -> Decimal:
    """An exact decimal from platform text: ASCII digits, one point, at most `DIGITS_MAX` digits.

    Refuses floats, blanks, separators, other scripts' digits, NaN and infinities with `BadNumber`.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise BadNumber("give the number as text, an integer or a decimal, never as a float")
    if isinstance(value, int):
        if abs(value) >= 10**DIGITS_MAX:
            raise BadNumber(f"give at most {DIGITS_MAX} digits")
        return Decimal(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise BadNumber("give a finite number")
        digits, power = len(value.as_tuple().digits), int(value.as_tuple().exponent)
        number = value
    else:
        match = _NUMBER.fullmatch(value) if len(value) <= 2 * DIGITS_MAX else None
        if match is None:
            raise BadNumber(
                f"give a plain decimal number such as 12.50, of at most {DIGITS_MAX} digits, "
                "without spaces or separators"
            )
        part = match["part"] or ""
        digits, power = len(match["whole"]) + len(part), int(match["power"] or 0) - len(part)
        number = Decimal(value)
    if digits > DIGITS_MAX or abs(power) > EXPONENT_MAX:
        raise BadNumber(f"give at most {DIGITS_MAX} digits and a power of ten within ±{EXPONENT_MAX}")
    # "-0" would survive comparisons and then show up in texts and hashes.
    return abs(number) if number == 0 else number


def round_half_even(value: Fraction | Decimal | int) -> int:
    """The nearest integer, a tie to the even one; exact for any size and sign."""
    return _half_even(*value.as_integer_ratio())


def to_minor(amount: Decimal, currency: str) -> tuple[int, Decimal]:
    """Minor units, rounded half to even, and the exact remainder in the currency's major unit.

    `from_minor(units, currency) + remainder == amount` always holds. Raises `UnknownCurrency`, and
    `BadNumber` beyond ±10^15 minor units or for a value that is not finite.
    """
    places = exponent(currency)
    exact = _EXACT.scaleb(parse_decimal(amount), places)
    whole = exact.to_integral_value(ROUND_HALF_EVEN, _EXACT)
    if abs(whole) > MINOR_UNITS_MAX:
        raise BadNumber(f"give an amount within ±{MINOR_UNITS_MAX} minor units")
    rest = _EXACT.subtract(exact, whole)
    return int(whole), _EXACT.scaleb(rest, -places) if rest else Decimal(0)


def from_minor(units: int, currency: str) -> Decimal:
    """The amount in the major unit with all its decimal places: 1050 CNY is 10.50."""
    return _EXACT.scaleb(Decimal(units), -exponent(currency))


def share(amount: int, numerator: int | Decimal, denominator: int | Decimal) -> int:
    """`amount × numerator / denominator` in minor units, rounded once, half to even.

    Raises `ZeroDivisionError` when the denominator is zero.
    """
    over, under = numerator.as_integer_ratio()
    above, below = denominator.as_integer_ratio()
    return _half_even(amount * over * below, under * above)


def apportion(total: int, weights: Sequence[int | Decimal]) -> list[int]:
    """Split `total` in proportion to `weights` so that the parts sum to it exactly.

    Largest remainder; ties go to the earlier part; a negative total mirrors the positive one.
    10 over three equal weights is 4, 3, 3. When every weight is zero the parts are equal.
    Raises `ValueError` for a negative weight, or for no weights while there is something to split.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError("weights must not be negative")
    if not weights:
        if total:
            raise ValueError("there is an amount to split and nothing to split it over")
        return []
    shares = _integers(weights)
    whole = sum(shares)
    if whole == 0:
        shares, whole = [1] * len(weights), len(weights)
    magnitude = abs(total)
    parts = [magnitude * part // whole for part in shares]
    by_remainder = sorted(range(len(parts)), key=lambda i: -(magnitude * shares[i] % whole))
    for i in by_remainder[: magnitude - sum(parts)]:
        parts[i] += 1
    return [-part for part in parts] if total < 0 else parts


def _integers(weights: Sequence[int | Decimal]) -> list[int]:
    """The same proportions as integers, since integer arithmetic is exact and many times faster."""
    ratios = [weight.as_integer_ratio() for weight in weights]
    scale = lcm(*(below for _, below in ratios))
    return [above * (scale // below) for above, below in ratios]


def _half_even(numerator: int, denominator: int) -> int:
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))
