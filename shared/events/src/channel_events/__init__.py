"""The wire contract between Qudao's services: every event type, its body, its topic and its codec.

Imports pydantic and the standard library only. It holds no behaviour of any service and no transport: the
kit's outbox encodes with `catalog.encode`, its feed decodes with `catalog.decode`, handlers read the bodies.
Within a major version a body may only gain optional fields; `compatibility` holds that.
"""
