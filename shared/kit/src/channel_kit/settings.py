"""Settings of one service process, read from `QUDAO_*` environment variables only.

Every service shares this class, so a deployment names a thing once. Secrets are `SecretStr` and never logged.
Derived values (which database role a process uses) live in `database`, not here.
"""

from zoneinfo import ZoneInfo

from pydantic import SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Environment of a service process; a missing value is an error only for the role that needs it."""

    model_config = SettingsConfigDict(env_prefix="QUDAO_", extra="ignore", frozen=True)

    api_database_url: SecretStr | None = None
    worker_database_url: SecretStr | None = None
    owner_database_url: SecretStr | None = None
    kafka: str = "127.0.0.1:9092"
    http_host: str = "127.0.0.1"
    http_port: int = 8000
    time_zone: str = "Asia/Shanghai"
    instance_id: str | None = None  # a stable name of this replica; None = join Kafka groups as a stranger
    secret_key: SecretStr | None = None  # base64 of 32 bytes: encrypts stored shop secrets and signing keys
    log_json: bool = True
    log_level: str = "INFO"
    docs: bool = True
    pool_size: int = 10
    graceful_seconds: int = 20
    drain_seconds: float = 0.0  # how long requests are still taken after SIGTERM, while routers learn of it
    poll_seconds_max: float = 0.5
    outbox_keep_days: int = 30
    delivery_keep_days: int = 400
    admin_client_id: str | None = None
    admin_client_secret: SecretStr | None = None

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        ZoneInfo(value)
        return value

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)
