"""What was published, and what the tables say has become of it, compared by number."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.raw_amqp import bodies
from tests.raw_amqp.cases import Case
from tests.raw_amqp.client import ACKED, RawPublisher, open_publisher
from tests.raw_amqp.oracle import ANYHOW, METRICS, Outcome, Refusal

AT_ONCE = 100  # publishes of which the confirms are waited for together
NUMBER = re.compile(rb'case-(\d+)|"impressions": (\d+)')
COUNT = text("""
    select (select count(*) from campaign_metrics) + (select count(*) from dead_letters)
         + (select count(*) from campaigns where name like 'case-%')
""")
EFFECTS = text("select campaign_id, date, impressions from campaign_metrics")
MADE = text("select name from campaigns where name like 'case-%'")
LETTERS = text("""
    select to_jsonb(d) - 'body' - 'properties' as told, substring(body for 4096) as body
    from dead_letters d
""")
UNLIMITED = text("set local statement_timeout = 0")  # the tables hold all that was published
Copy = tuple[str, int]  # a queue, and the number of the message


@dataclass(slots=True)
class Found:
    """What the tables hold: effects, and dead letters by queue and number."""

    effects: Counter[Copy] = field(default_factory=Counter)
    letters: dict[Copy, list[dict[str, Any]]] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many ends there are."""
        return self.effects.total() + sum(map(len, self.letters.values()))


class Books:
    """Publishes cases, and knows what is owed for them."""

    def __init__(self, url: str) -> None:
        """Publish over an AMQP URL."""
        self._url = url
        self.owed: dict[Copy, Outcome] = {}
        # What was in a queue, perhaps, when the broker's connection broke.
        self.unknown: dict[Copy, Outcome] = {}
        self.refused: Counter[str] = Counter()
        self._sent: Counter[int] = Counter()
        self.wrong: list[str] = []

    async def publish(self, cases: Iterable[Case]) -> None:
        """Publish cases: those that nobody refuses in a row, each of the others alone."""
        plain = []
        for case in cases:
            if case.fate.refusal is Refusal.NEVER:
                plain.append(case)
            else:
                await self._publish_alone(case)
        async with open_publisher(self._url) as publisher:
            for start in range(0, len(plain), AT_ONCE):
                await self._publish_together(publisher, plain[start : start + AT_ONCE])

    async def _publish_together(self, publisher: RawPublisher, cases: list[Case]) -> None:
        if publisher.closed is None:
            self._sent.update(case.number for case in cases)
            answers = await publisher.publish_all([case.publish for case in cases])
        else:
            answers = ["the channel is gone"] * len(cases)
        for case, answer in zip(cases, answers, strict=True):
            if answer == ACKED:
                self._owe(case)
            else:  # whether it is in a queue is not known, so it is sent again
                await self._publish_alone(case)

    async def _publish_alone(self, case: Case) -> None:
        async with open_publisher(self._url) as publisher:
            self._sent[case.number] += 1
            answer = await publisher.publish(case.publish)
            closed = publisher.closed
        if answer == ACKED:
            self._owe(case)
        if answer == ACKED and case.fate.refusal is Refusal.ALWAYS:
            self.wrong.append(f"{case.number}: the broker should have refused it")
        if answer != ACKED and (closed is None or case.fate.refusal is Refusal.NEVER):
            self.wrong.append(f"{case.number}: {answer}, {closed}")
        if closed is not None:
            self.refused[f"{closed.scope} {closed.code}"] += 1
            if closed.scope == "connection":
                self.unknown |= _copies(case)

    def _owe(self, case: Case) -> None:
        self.owed |= _copies(case)

    def missing(self, found: Found) -> int:
        """Count the copies of which nothing is to be seen."""
        return len(self.owed.keys() - found.effects.keys() - found.letters.keys())

    def compare(self, found: Found) -> list[str]:
        """List where the tables differ from what is owed; each copy has exactly one end."""
        wrong = [*self.wrong, *found.strange]
        for copy in self.owed.keys() | found.effects.keys() | found.letters.keys():
            outcome = self.owed.get(copy) or self.unknown.get(copy)
            effects, letters = found.effects[copy], found.letters.get(copy, [])
            if outcome is None:
                wrong.append(f"{copy}: nothing is owed, found {effects} effects, {letters}")
            elif not self._is_one_end(copy, effects, letters):
                wrong.append(f"{copy}: {effects} effects, letters {letters}")
            elif effects and not outcome.effect:
                wrong.append(f"{copy}: took effect, owed {sorted(outcome.deaths)}")
            elif letters and not _is_among(letters[0], outcome):
                wrong.append(f"{copy}: {_death(letters[0])}, owed {outcome}")
        return wrong

    def _is_one_end(self, copy: Copy, effects: int, letters: list[Any]) -> bool:
        """Tell whether there is one end; what was sent again may have died as often."""
        if not effects and self._sent[copy[1]] > 1:
            return 0 < len(letters) <= self._sent[copy[1]]
        return effects + len(letters) == 1


async def count_ends(engine: AsyncEngine) -> int:
    """Count the effects and the dead letters."""
    async with engine.connect() as connection:
        await connection.execute(UNLIMITED)
        return int((await connection.execute(COUNT)).scalar_one())


async def look(engine: AsyncEngine, late: set[int]) -> Found:
    """Read what has become of everything; ``late`` are the reports about late campaigns."""
    found = Found()
    async with engine.connect() as connection:
        await connection.execute(UNLIMITED)
        for campaign, day, impressions in await connection.execute(EFFECTS):
            number = impressions - 1
            named: UUID = bodies.campaign_id(number, late=number in late)
            if (campaign, day) != (named, bodies.day(number)):
                found.strange.append(f"{number}: added twice, or to another day: {campaign}, {day}")
            found.effects[METRICS, number] += 1
        for (name,) in await connection.execute(MADE):
            found.effects["campaigns.apply", int(name.removeprefix("case-"))] += 1
        for told, body in await connection.execute(LETTERS):
            marker = NUMBER.search(body) or NUMBER.search(str(told["message_id"]).encode())
            if marker is None:
                found.strange.append(f"a letter of no case: {told}, {body[:200]!r}")
                continue
            number = int(marker[1]) if marker[1] else int(marker[2]) - 1
            found.letters.setdefault((told["queue"], number), []).append(told)
    return found


def _copies(case: Case) -> dict[Copy, Outcome]:
    return {(queue, case.number): outcome for queue, outcome in case.fate.outcomes.items()}


def _death(letter: dict[str, Any]) -> tuple[str, str]:
    return letter["stage"], letter["error_class"]


def _is_among(letter: dict[str, Any], outcome: Outcome) -> bool:
    return ANYHOW in outcome.deaths or _death(letter) in outcome.deaths
