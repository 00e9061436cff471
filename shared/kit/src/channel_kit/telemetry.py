"""Logs, metrics and the thread of a trace.

Logs are structlog, one JSON object a line (or coloured text on a terminal). Every metric of the kit is named
and explained here, so there is one file to read. `traceparent` travels: HTTP header → delivery or command →
outbox row → Kafka header → the events that follow. Batches have many causes, so the trace is looked up by an
event's correlation id.
"""

import logging
import secrets
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge, Histogram

_trace: ContextVar[str | None] = ContextVar("trace", default=None)
_by_correlation: ContextVar[Mapping[UUID, str]] = ContextVar("by_correlation", default={})  # noqa: B039  never mutated

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
http_seconds = Histogram(
    "qudao_http_seconds", "Time to answer a request.", ["method", "route", "status"], buckets=SECONDS
)
relay_published = Counter("qudao_relay_published_total", "Outbox rows acknowledged by the broker.")
relay_failures = Counter("qudao_relay_failures_total", "Relay rounds given up and started again.")
outbox_pending = Gauge("qudao_outbox_pending", "Outbox rows not yet acknowledged by the broker.")
outbox_oldest_seconds = Gauge("qudao_outbox_oldest_seconds", "Age of the oldest unpublished outbox row.")
feed_events = Counter(
    "qudao_feed_events_total", "Events met by a feed, by what became of them.", ["consumer", "outcome"]
)
feed_seconds = Histogram(
    "qudao_feed_poll_seconds", "Time to handle and commit one poll.", ["consumer"], buckets=SECONDS
)
feed_lag = Gauge("qudao_feed_lag", "Records behind the end of the topic.", ["consumer"])
feed_parked = Gauge("qudao_feed_parked", "Events parked and waiting.", ["consumer"])
feed_rebuilds = Counter("qudao_feed_rebuilds_total", "Kafka consumers given up and made anew.", ["consumer"])
feed_alarms = Counter(
    "qudao_feed_alarms_total", "Equal version under another event id: two histories exist.", ["consumer"]
)
job_seconds = Histogram(
    "qudao_job_seconds", "Time of one run of a job that found work.", ["job"], buckets=SECONDS
)
job_failures = Counter("qudao_job_failures_total", "Runs of a job that raised.", ["job"])
gather_rows = Histogram(
    "qudao_gather_rows", "Requests committed together.", ["name"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)


def console(*, colors: bool) -> structlog.dev.ConsoleRenderer:
    """Lines for people. Plain tracebacks: the pretty ones show local variables, secrets among them."""
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


def configure(*, json: bool, level: str, service: str) -> None:
    """Sets up structlog and the standard library's loggers for this process, once."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[structlog.types.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if json
        else [console(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[*_unwrapped, *render]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # The Kafka client tells each fault once a partition and again as an exception; feed and relay log the exception.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.contextvars.bind_contextvars(service=service)


_unwrapped: list[structlog.types.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]


def start_trace(traceparent: str | None) -> str:
    """Continues the caller's trace, or starts one; returns the `traceparent` now in force."""
    version, _, rest = (traceparent or "").partition("-")
    trace_id = rest.partition("-")[0]
    valid = (
        version == "00"
        and len(trace_id) == 32
        and set(trace_id) <= set("0123456789abcdef")
        and set(trace_id) != {"0"}
    )
    current = f"00-{trace_id if valid else secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    _trace.set(current)
    structlog.contextvars.bind_contextvars(trace_id=current[3:35])
    return current


def remember(traces: Mapping[UUID, str]) -> None:
    """The traces of the batch at hand, by correlation id; announcements of the batch continue them."""
    _by_correlation.set(traces)


def trace_headers(correlation_id: UUID | None = None) -> dict[str, str]:
    """What an outbox row keeps, empty where no trace is known."""
    trace = _by_correlation.get().get(correlation_id) if correlation_id else None
    trace = trace or _trace.get()
    return {"traceparent": trace} if trace else {}
