"""The platforms that order-svc speaks with; `contract.py` says what an adapter must do."""

from order_svc.platforms import generic, pos, shopify, woocommerce
from order_svc.platforms.contract import Platform

PLATFORMS: dict[str, Platform] = {
    adapter.name: adapter for adapter in (shopify.ADAPTER, woocommerce.ADAPTER, generic.ADAPTER, pos.ADAPTER)
}
