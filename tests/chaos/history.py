"""What was sent and what came of it, kept in a file: one JSON line for each answer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from time import time

import orjson

from infra.messaging.digest import content_digest
from tests.chaos.fate import Fate, fate
from tests.infra.ledger import report


class Answer(StrEnum):
    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"  # it may or may not have been taken


class Way(StrEnum):
    AMQP = "amqp"
    HTTP = "http"


@dataclass(slots=True)
class Sent:
    """One event: its number, how it went, and the best answer that it got."""

    number: int
    way: Way
    answer: Answer = Answer.UNKNOWN
    tries: int = 0

    @property
    def id(self) -> str:
        return f"e-{self.number}"

    @property
    def end(self) -> Fate:
        return fate(self.number)


@dataclass(slots=True)
class History:
    """Every event of a session by its id; answers are appended to ``file``."""

    file: Path
    sent: dict[str, Sent] = field(default_factory=dict)
    next_number: int = 0
    resent: int = 0

    def numbers(self, count: int) -> range:
        """Take fresh numbers."""
        first, self.next_number = self.next_number, self.next_number + count
        return range(first, self.next_number)

    def send(self, number: int, way: Way) -> Sent:
        sent = Sent(number, way)
        self.sent[sent.id] = sent
        return sent

    def note(self, answers: Iterable[tuple[Sent, Answer]]) -> None:
        """Keep answers; one ``ok`` is enough, whichever try it is the answer to."""
        lines = []
        for sent, answer in answers:
            sent.tries += 1
            if sent.answer is Answer.UNKNOWN or answer is Answer.OK:
                sent.answer = answer
            line = {"n": sent.number, "way": sent.way, "at": time(), "answer": answer}
            lines.append(orjson.dumps(line) + b"\n")
        with self.file.open("ab") as file:
            file.writelines(lines)

    def having(self, answer: Answer) -> Iterator[Sent]:
        return (sent for sent in self.sent.values() if sent.answer is answer)

    def count(self, answer: Answer) -> int:
        return sum(1 for _ in self.having(answer))


def digest_of(number: int) -> str:
    """Tell what the event with this number says, as the ledger has it."""
    return content_digest(report(number)).hex
