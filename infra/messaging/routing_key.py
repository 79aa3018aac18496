"""Parses routing keys of events: a type, and a platform where the event is routed by it."""

from functools import lru_cache

MAX_KEYS = 1024  # that are remembered


@lru_cache(maxsize=MAX_KEYS)
def parse_event_type(routing_key: str) -> str:
    """Parse the event type that a routing key begins with: its first three words."""
    return ".".join(routing_key.split(".", 3)[:3])
