"""Settings of the inventory beside those every service has: how long an unpaid order holds stock."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from inventory_svc.hold.values import Windows

HoldSeconds = Annotated[int, Field(ge=1, le=30 * 24 * 3600)]


class InventorySettings(BaseSettings):
    """`QUDAO_HOLD_SECONDS` and, as JSON by channel, `QUDAO_HOLD_SECONDS_BY_CHANNEL={"store": 600}`."""

    model_config = SettingsConfigDict(env_prefix="QUDAO_", extra="ignore", frozen=True)

    hold_seconds: HoldSeconds = 1_800
    hold_seconds_by_channel: dict[str, HoldSeconds] = {}

    @property
    def windows(self) -> Windows:
        """How long an unpaid claim holds stock, by channel."""
        return Windows(self.hold_seconds, self.hold_seconds_by_channel)
