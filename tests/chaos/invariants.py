"""What must hold when all is healed and drained, whatever has happened: I1 to I10.

Each takes the ``Findings`` and raises ``AssertionError`` with the first offenders.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from infra.messaging.retry_policy import DEFAULT_POLICY
from tests.chaos.fate import Fate
from tests.chaos.history import Answer, History, Sent, Way, digest_of
from tests.chaos.worker import KEYS

TOLERANCE = 60.0  # seconds that healing may add to a wait, beside those that the fault lasts
STUBBORN_SECONDS = 2  # what the worker asks for: waits of 1 + 1 seconds
SHOWN = 5
# Room for caches that fill and for a pool at its full size.
RSS_ROOM = 40 * 1024 * 1024
FILE_ROOM = 25


@dataclass(frozen=True, slots=True)
class DeadLetter:
    event_id: str
    error_class: str
    reason: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process takes: bytes, open files, connections to the broker."""

    rss: int
    files: int
    connections: int


@dataclass(frozen=True, slots=True)
class Findings:
    """The world after a fault is healed and everything is drained."""

    history: History
    applied: Counter[str]
    digests: Mapping[str, str]
    newest: Mapping[int, int]
    dead: list[DeadLetter]
    caused: Counter[str]  # ids of the events that were seen to cause another on the bus
    aside: set[str]  # ids that lie where an operator looks for them, by the broker's rules
    waiting: Mapping[str, int]  # messages left in work, retry and dead queues, by queue
    outbox: int
    recovery: float
    patience: float
    longest: float = 0.0  # seconds of the longest fault so far
    before: Mapping[str, Footprint] = field(default_factory=dict)
    after: Mapping[str, Footprint] = field(default_factory=dict)
    ended: tuple[str, ...] = ()

    @property
    def dead_ids(self) -> Counter[str]:
        return Counter(letter.event_id for letter in self.dead)


def accepted_reaches_its_end(found: Findings) -> None:
    """I1: what was accepted is applied or dead-lettered, as its number says."""
    ended = found.applied.keys() | found.dead_ids.keys() | found.aside
    _none(sent.id for sent in found.history.having(Answer.OK) if sent.id not in ended)
    good = {s.id for s in found.history.sent.values() if s.end is Fate.APPLIED}
    _none(letter for letter in found.dead if letter.event_id in good)


def effects_happen_once(found: Findings) -> None:
    """I2: no event has taken effect twice, and none is filed as dead oftener than it was sent."""
    _none(id_ for id_, times in found.applied.items() if times > 1)
    sent = found.history.sent
    _none(id_ for id_, times in found.dead_ids.items() if times > sent[id_].tries)
    _none(found.applied.keys() & found.dead_ids.keys())


def nothing_unexpected_appears(found: Findings) -> None:
    """I3: only what was sent and not refused has an effect, and it says what was sent."""
    sent = found.history.sent
    _none(found.applied.keys() - sent.keys())
    refused = {s.id for s in found.history.having(Answer.REFUSED)}
    _none(refused & (found.applied.keys() | found.dead_ids.keys()))
    _none(id_ for id_, said in found.digests.items() if said != digest_of(sent[id_].number))


def the_outbox_tells_the_truth(found: Findings) -> None:
    """I4: a committed row is published at least once; a rolled-back one never."""
    _none(found.applied.keys() - found.caused.keys())
    _none(found.caused.keys() - found.applied.keys())


def attempts_stay_within_policy(found: Findings) -> None:
    """I5: attempts within the limit; waits no shorter than asked, no longer than tolerable."""
    _none(letter for letter in found.dead if letter.attempts > DEFAULT_POLICY.max_attempts)
    ends = {s.id: s.end for s in found.history.sent.values()}
    for letter in found.dead:
        waited = (letter.last_failed_at - letter.first_failed_at).total_seconds()
        if ends[letter.event_id] is Fate.STUBBORN:
            assert letter.attempts == 3, letter
            most = STUBBORN_SECONDS + found.longest + TOLERANCE
            assert STUBBORN_SECONDS - 0.2 <= waited <= most, letter
        else:
            assert letter.attempts == 1, letter


def the_newest_version_wins(found: Findings) -> None:
    """I6: each key stands at the highest version that took effect."""
    expected: dict[int, int] = {}
    for id_ in found.applied:
        number = found.history.sent[id_].number
        expected[number % KEYS] = max(number, expected.get(number % KEYS, 0))
    assert found.newest == expected


def the_books_balance(found: Findings) -> None:
    """I7: sent = applied + dead + aside + refused + unknown without a trace; nothing waits."""
    _none((queue, count) for queue, count in found.waiting.items() if count)
    assert found.outbox == 0, f"{found.outbox} rows in the outbox"
    traced = found.applied.keys() | found.dead_ids.keys() | found.aside
    lost = [s for s in found.history.sent.values() if s.id not in traced]
    _none(sent for sent in lost if not _may_be_missing(sent))


def progress_resumes(found: Findings) -> None:
    """I8: after the fault is healed, what is sent then is applied within the patience."""
    assert found.recovery <= found.patience, f"{found.recovery:.1f} > {found.patience:.1f} s"


def resources_return_to_base(found: Findings) -> None:
    """I9: memory, open files and connections are back to what they were."""
    for name, after in found.after.items():
        before = found.before[name]
        assert after.rss <= before.rss + RSS_ROOM, (name, before, after)
        assert after.files <= before.files + FILE_ROOM, (name, before, after)
        assert after.connections <= before.connections, (name, before, after)


def no_process_has_ended(found: Findings) -> None:
    """I10: no task that runs for ever has ended; its process would have gone with it."""
    assert not found.ended, found.ended


INVARIANTS: tuple[Callable[[Findings], None], ...] = (
    accepted_reaches_its_end,
    effects_happen_once,
    nothing_unexpected_appears,
    the_outbox_tells_the_truth,
    attempts_stay_within_policy,
    the_newest_version_wins,
    the_books_balance,
    progress_resumes,
    resources_return_to_base,
    no_process_has_ended,
)


@dataclass(frozen=True, slots=True)
class Slowest:
    """The invariant that took the longest to check."""

    name: str
    seconds: float


def check(found: Findings) -> Slowest:
    """Check all of them; tells which took the longest."""
    lasted: dict[str, float] = {}
    for invariant in INVARIANTS:
        began = time.perf_counter()
        invariant(found)
        lasted[invariant.__name__] = time.perf_counter() - began
    name = max(lasted, key=lasted.__getitem__)
    return Slowest(name, lasted[name])


def _may_be_missing(sent: Sent) -> bool:
    if sent.answer is Answer.UNKNOWN:
        return True
    return sent.answer is Answer.REFUSED and (sent.end is Fate.INVALID or sent.way is Way.AMQP)


def _none(offenders: Iterable[object]) -> None:
    found = list(offenders)
    assert not found, f"{len(found)}: {found[:SHOWN]}"
