"""Who sells what in the demo: a tea brand, its partners, shops, plans, products and places.

Pure constants, and the CSV files that tell the services about them. Nothing here is drawn by chance: the day's
chances are in `sales` and `plan`. Prices are minor units, tax included in CNY and added to it in USD.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

TIME_ZONE: Final = "Asia/Shanghai"
ZONE: Final = ZoneInfo(TIME_ZONE)
IN_FORCE_FROM: Final = date(2024, 1, 1)
IN_FORCE_AT: Final = f"{IN_FORCE_FROM}T00:00:00+08:00"


@dataclass(frozen=True, slots=True)
class Partner:
    """One who sells; `plans` are the rebate plans its contract names."""

    code: str
    name: str
    kind: str
    plans: tuple[str, ...] = ()

    @property
    def contract_code(self) -> str:
        return f"{self.code}-2024"


@dataclass(frozen=True, slots=True)
class Shop:
    """An account on a platform. `share` of the day's orders is in percent."""

    platform: str
    shop_id: str
    partner: str
    channel: str
    currency: str
    location: str
    share: int

    @property
    def slug(self) -> str:
        """The last part of its webhook address."""
        return self.shop_id


@dataclass(frozen=True, slots=True)
class Item:
    """A product. `quantities` are how much of it people take; `scarce` ones are short for half of the day."""

    sku: str
    title: str
    english: str
    category: str
    cny: int
    usd: int
    quantities: tuple[str, ...] = ("1", "1", "1", "2", "3")
    uom: str = "pcs"
    scale: int = 0
    scarce: bool = False


MINGCHUAN: Final = Partner("MINGCHUAN", "杭州茗川商贸有限公司", "distributor", ("tea-growth",))
LEAFWAY: Final = Partner("LEAFWAY", "Leafway Teas Ltd", "reseller", ("tea-resale",))
OWN_STORES: Final = Partner("QINGLAN-STORES", "青岚直营门店", "store")
PARTNERS: Final = (MINGCHUAN, LEAFWAY, OWN_STORES)

MAIN, HUBIN = "main", "hubin"
LOCATIONS: Final = {MAIN: "Warehouse Yuhang 余杭总仓", HUBIN: "Store Hubin 湖滨店"}

FLAGSHIP: Final = Shop("shopify", "qinglan-flagship", "MINGCHUAN", "online", "CNY", MAIN, 36)
POP_UP: Final = Shop("shopify", "qinglan-pop-up", "MINGCHUAN", "online", "CNY", MAIN, 10)
OVERSEAS: Final = Shop("woocommerce", "leafway-store", "LEAFWAY", "online", "USD", MAIN, 22)
MINI: Final = Shop("generic", "qinglan-mini", "QINGLAN-STORES", "private-domain", "CNY", MAIN, 22)
TILL: Final = Shop("pos", "hubin-till", "QINGLAN-STORES", "store", "CNY", HUBIN, 10)
SHOPS: Final = (FLAGSHIP, POP_UP, OVERSEAS, MINI, TILL)
CONNECTED: Final = tuple(shop for shop in SHOPS if shop.platform != "pos")
BOUND_LATE: Final = POP_UP
ROTATED: Final = FLAGSHIP

_LOOSE = ("0.25", "0.5", "0.75", "1")
ITEMS: Final = (
    Item("LONGJING-100", "西湖龙井 明前特级 100克", "Longjing green tea 100 g", "茶叶 > 绿茶", 26800, 4200),
    Item("BILUOCHUN-100", "碧螺春 一级 100克", "Biluochun green tea 100 g", "茶叶 > 绿茶", 19800, 3400),
    Item("MAOFENG-250", "黄山毛峰 250克", "Maofeng green tea 250 g", "茶叶 > 绿茶", 15800, 2900),
    Item("GREEN-LOOSE", "绿茶 散装", "Green tea, loose", "茶叶 > 绿茶", 48000, 8000, _LOOSE, "kg", 3),
    Item(
        "TIEGUANYIN-250", "安溪铁观音 清香型 250克", "Tieguanyin oolong 250 g", "茶叶 > 乌龙茶", 16800, 3000
    ),
    Item("DAHONGPAO-100", "武夷大红袍 100克", "Dahongpao oolong 100 g", "茶叶 > 乌龙茶", 23800, 3900),
    Item("PUER-357", "普洱熟茶饼 357克", "Ripe pu'er cake 357 g", "茶叶 > 黑茶", 29800, 4800, scarce=True),
    Item("SILVER-NEEDLE-50", "白毫银针 50克", "Silver needle white tea 50 g", "茶叶 > 白茶", 32800, 5600),
    Item("JASMINE-100", "茉莉花茶 100克", "Jasmine tea 100 g", "茶叶 > 花茶", 8800, 1800),
    Item("GAIWAN", "白瓷盖碗", "Porcelain gaiwan", "茶具", 6800, 1500),
    Item("TEAPOT-YIXING", "宜兴紫砂壶", "Yixing teapot", "茶具", 45800, 7900, ("1",), scarce=True),
    Item("GIFT-BOX", "新春礼盒", "Gift box", "礼盒", 39800, 6800, ("1", "1", "2")),
)
SKUS: Final = {item.sku: item for item in ITEMS}

# What shops call our products where they do not use our SKU. The last two are mapped only during the day.
PLATFORM_SKUS: Final = {
    (FLAGSHIP.shop_id, "LONGJING-100"): "QL-LJ100",
    (FLAGSHIP.shop_id, "PUER-357"): "QL-PE357",
    (POP_UP.shop_id, "LONGJING-100"): "POP-LJ",
    **{(OVERSEAS.shop_id, item.sku): f"LW-{number:03}" for number, item in enumerate(ITEMS[:8], 1)},
    (FLAGSHIP.shop_id, "GIFT-BOX"): "QL-SPRING-GIFT",
    (OVERSEAS.shop_id, "GAIWAN"): "LW-GAIWAN-W",
}
MAPPED_LATE: Final = frozenset({"QL-SPRING-GIFT", "LW-GAIWAN-W"})


@dataclass(frozen=True, slots=True)
class Plan:
    """A rebate plan with its only version."""

    code: str
    name: str
    currency: str
    shape: str
    recognition: str
    tiers: tuple[tuple[int, int], ...]  # (from minor units on, rate in ppm)

    @property
    def terms(self) -> dict[str, Any]:
        """The version as incentive-svc takes it."""
        return {
            "valid_from": IN_FORCE_FROM.isoformat(),
            "calendar": "month",
            "currency": self.currency,
            "shape": self.shape,
            "recognition": self.recognition,
            "tiers": [{"lower_minor": lower, "rate_ppm": rate} for lower, rate in self.tiers],
        }


_GROWTH = ((0, 20_000), (2_000_000, 30_000), (5_000_000, 50_000))
_RESALE = ((0, 0), (100_000, 20_000), (400_000, 40_000))
PLANS: Final = (
    Plan("tea-growth", "Growth rebate, by slices 增长返利", "CNY", "marginal", "paid", _GROWTH),
    Plan("tea-resale", "Resale rebate, on the whole 转售返利", "USD", "all_units", "ordered", _RESALE),
)


def platform_sku(shop: Shop, item: Item) -> str:
    """What the shop calls the product: our own SKU where nothing else is agreed."""
    return PLATFORM_SKUS.get((shop.shop_id, item.sku), item.sku)


def listings(late: bool) -> list[tuple[str, str, str, str]]:
    """(platform, shop, platform SKU, our SKU) of the listings known from the start, or of those mapped late."""
    platforms = {shop.shop_id: shop.platform for shop in SHOPS}
    return [
        (platforms[shop_id], shop_id, theirs, ours)
        for (shop_id, ours), theirs in PLATFORM_SKUS.items()
        if (theirs in MAPPED_LATE) == late
    ]


def table(header: str, rows: Iterable[Sequence[str]]) -> bytes:
    """A CSV file in UTF-8; the header's columns are separated by blanks."""
    text = io.StringIO()
    csv.writer(text).writerows([header.split(), *rows])
    return text.getvalue().encode()


def partners_file() -> bytes:
    rows = [(each.code, each.name, each.kind, IN_FORCE_FROM.isoformat()) for each in PARTNERS]
    return table("code name kind effective_from", rows)


def items_file() -> bytes:
    rows = [
        (
            each.sku,
            each.title,
            each.category,
            each.uom,
            str(each.scale),
            f"{Decimal(each.cny) / 250:.2f}",
            "CNY",
        )
        for each in ITEMS
    ]
    return table("sku name category_path uom quantity_scale unit_cost currency", rows)


def locations_file() -> bytes:
    return table("code name", LOCATIONS.items())


def shop_locations_file() -> bytes:
    rows = [(shop.platform, shop.shop_id, shop.location) for shop in SHOPS if shop.location != MAIN]
    return table("platform shop_id location", rows)


def listings_file() -> bytes:
    return table("platform shop_id platform_sku sku", listings(late=False))
