"""Divides what was accepted by entry: API, events over HTTP, webhooks, publishers, caused. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.storage.flow_counts import AcceptedCount

API, EVENTS, WEBHOOKS, AMQP = ENTRIES = ("api", "events", "webhooks", "amqp")
CAUSED = "caused"
EVENTS_ROUTE = "/api/v1/events"


@dataclass(frozen=True, slots=True)
class AcceptedRates:
    """Events per second by entry and as caused by others, and their parts by who sent them.

    ``parts`` has the sources of webhooks and the publishers over AMQP, ``by_outbox`` what of an
    entry was accepted while the broker did not confirm.
    """

    by_entry: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    by_outbox: Mapping[str, float] = field(default_factory=dict)

    @property
    def accepted(self) -> float:
        """What came from outside, per second."""
        return sum(self.by_entry.get(entry, 0.0) for entry in ENTRIES)

    @property
    def caused(self) -> float:
        """What other events caused, per second."""
        return self.by_entry.get(CAUSED, 0.0)

    @property
    def total(self) -> float:
        """All events, per second."""
        return self.accepted + self.caused

    @property
    def relayed(self) -> float:
        """What came over the outbox, per second."""
        return self.caused + sum(self.by_outbox.values())


def rate_accepted(counts: Sequence[AcceptedCount], seconds: float) -> AcceptedRates:
    """Turn the counts of some ``seconds`` into rates."""
    entries: Counter[str] = Counter()
    outbox: Counter[str] = Counter()
    parts: dict[str, Counter[str]] = {WEBHOOKS: Counter(), AMQP: Counter()}
    for count in counts:
        entry = find_entry(count)
        entries[entry] += count.number
        if entry in parts:
            parts[entry][count.name.removeprefix("user=") or "unknown"] += count.number
        if count.from_outbox and entry != CAUSED:
            outbox[entry] += count.number
    return AcceptedRates(
        {entry: number / seconds for entry, number in entries.items()},
        {
            entry: {name: number / seconds for name, number in found.most_common()}
            for entry, found in parts.items()
        },
        {entry: number / seconds for entry, number in outbox.items()},
    )


def find_entry(count: AcceptedCount) -> str:
    """Find the entry of a door.

    Only a user of Adrelay publishes from the outbox, and only the workers without a door.
    """
    if count.kind == "webhook":
        return WEBHOOKS
    if count.kind == "amqp":
        return CAUSED if count.from_outbox else AMQP
    return EVENTS if count.route == EVENTS_ROUTE else API
