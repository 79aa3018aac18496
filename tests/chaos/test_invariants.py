"""Each invariant sees what it is there to see."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.history import Answer, History, Way, digest_of
from tests.chaos.invariants import INVARIANTS, DeadLetter, Findings, Footprint, check

POISON, STUBBORN, INVALID = 13, 29, 6
AT = datetime(2026, 11, 22, tzinfo=UTC)


def dead(number: int, attempts: int = 1, waited: float = 0) -> DeadLetter:
    return DeadLetter(f"e-{number}", "X", "x", attempts, AT, AT + timedelta(seconds=waited))


@pytest.fixture
def sound(tmp_path: Path) -> Findings:
    """Seven events, each where it belongs."""
    history = History(tmp_path / "history.jsonl")
    for number in (1, 2, 3, POISON, STUBBORN):
        history.note([(history.send(number, Way.AMQP), Answer.OK)])
    refused, unknown = history.send(INVALID, Way.HTTP), history.send(4, Way.AMQP)
    history.note([(refused, Answer.REFUSED), (unknown, Answer.UNKNOWN)])
    applied = ("e-1", "e-2", "e-3")
    return Findings(
        history=history,
        applied=Counter(applied),
        digests={id_: digest_of(int(id_[2:])) for id_ in applied},
        newest={1: 1, 2: 2, 3: 3},
        dead=[dead(POISON), dead(STUBBORN, 3, 2)],
        caused=Counter([*applied, "e-1"]),
        aside=set(),
        waiting={"metrics.record": 0},
        outbox=0,
        recovery=1,
        patience=2,
        before={"web": Footprint(10, 10, 1)},
        after={"web": Footprint(10, 10, 1)},
    )


def test_a_sound_world_passes(sound: Findings) -> None:
    check(sound)


@pytest.mark.parametrize(
    ("number", "broken"),
    [
        (1, {"dead": [dead(POISON)]}),
        (1, {"dead": [dead(POISON), dead(STUBBORN, 3, 2), dead(2)]}),
        (2, {"applied": Counter({"e-1": 2, "e-2": 1, "e-3": 1})}),
        (2, {"dead": [dead(POISON), dead(POISON), dead(STUBBORN, 3, 2)]}),
        (3, {"applied": Counter(("e-1", "e-2", "e-3", "e-99"))}),
        (3, {"applied": Counter(("e-1", "e-2", "e-3", f"e-{INVALID}"))}),
        (3, {"digests": {"e-1": digest_of(2)}}),
        (4, {"caused": Counter(("e-1", "e-2"))}),
        (4, {"caused": Counter(("e-1", "e-2", "e-3", "e-4"))}),
        (5, {"dead": [dead(POISON, 2), dead(STUBBORN, 3, 2)]}),
        (5, {"dead": [dead(POISON), dead(STUBBORN, 3, 1)]}),
        (5, {"dead": [dead(POISON), dead(STUBBORN, 11, 2)]}),
        (5, {"dead": [dead(POISON), dead(STUBBORN, 3, 100)]}),
        (6, {"newest": {1: 1, 2: 2, 3: 2}}),
        (7, {"waiting": {"metrics.record": 1}}),
        (7, {"outbox": 1}),
        (7, {"applied": Counter(("e-1", "e-2"))}),
        (8, {"recovery": 3}),
        (9, {"after": {"web": Footprint(10**9, 10, 1)}}),
        (9, {"after": {"web": Footprint(10, 100, 1)}}),
        (9, {"after": {"web": Footprint(10, 10, 2)}}),
        (10, {"ended": ("web",)}),
    ],
)
def test_a_broken_world_is_seen(sound: Findings, number: int, broken: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        INVARIANTS[number - 1](replace(sound, **broken))


def test_a_long_fault_may_hold_a_retry_up(sound: Findings) -> None:
    check(replace(sound, dead=[dead(POISON), dead(STUBBORN, 3, 100)], longest=60))


def test_the_file_has_a_line_for_each_answer(sound: Findings) -> None:
    assert len(sound.history.file.read_text().splitlines()) == 7


@pytest.mark.parametrize("answers", [(Answer.REFUSED, Answer.OK), (Answer.OK, Answer.REFUSED)])
def test_an_event_is_accepted_whichever_of_its_copies_is(
    tmp_path: Path, answers: tuple[Answer, Answer]
) -> None:
    history = History(tmp_path / "history.jsonl")
    sent = history.send(1, Way.AMQP)
    history.note((sent, answer) for answer in answers)
    assert sent.answer is Answer.OK
