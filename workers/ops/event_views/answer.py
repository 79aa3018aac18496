"""Answers "what happened to this event?" in one sentence."""

from dataclasses import dataclass
from datetime import datetime

from schemas.events import QueueOutcome, TrackedEvent
from workers.ops.event_views.outcome import (
    BADGES,
    Told,
    count_attempts,
    describe_outcome,
    describe_result,
    find_worst,
    measure_seconds,
    walk,
)
from workers.ops.format import format_duration, format_time


@dataclass(frozen=True, slots=True)
class EventAnswer:
    """State and word of the badge, sentence, what is known besides, and the dead letter."""

    state: str
    word: str
    sentence: str
    detail: str = ""
    letter: str = ""


def answer_event(event: TrackedEvent, now: datetime) -> EventAnswer:
    """Answer for an event and what it caused; the most serious outcome counts."""
    worst = find_worst(list(walk(event)))
    if worst is None:
        return _answer_without_queue(event)
    concerned, outcome = worst
    if outcome.state == "handled":
        return _answer_handled(event)
    state, word = BADGES[outcome.state]
    if outcome.kind == "snoozed" and outcome.state == "waiting":
        state, word = "paused", "Snoozed"
    about = "" if concerned is event else f"It caused {concerned.type or 'an event'}: "
    told = describe_outcome(outcome, now)
    sentence = about + _tell(outcome, now)
    letter = str(outcome.dead_letters[-1].id) if outcome.dead_letters else ""
    return EventAnswer(state, word, sentence, told.more, letter)


def _tell(outcome: QueueOutcome, now: datetime) -> str:
    queue = outcome.queue
    until = "" if outcome.until is None else format_time(outcome.until, now)
    if outcome.state == "waiting" and outcome.kind == "snoozed":
        return f"{queue} has put it off until {until}. No attempt was spent."
    if outcome.state == "waiting":
        failed = count_attempts(outcome.attempts)
        return f"{failed} at {queue}. It is tried again at {until}, from the tier {outcome.tier}."
    if outcome.state == "dead":
        discarded = outcome.dead_letters and outcome.dead_letters[-1].state == "discarded"
        ending = "was discarded" if discarded else "waits for a decision"
        return f"{queue} has given it up. Its dead letter {ending}."
    if outcome.state == "outbox":
        return f"It is stored in the outbox and is not published to {queue} yet."
    if outcome.state == "paused":
        return f"It waits for {queue}, which is paused or stopped."
    return f"It is in {queue}, or in the hands of a worker."


def _answer_handled(event: TrackedEvent) -> EventAnswer:
    answers = [told for one in walk(event) if (told := describe_result(one)) is not None]
    rejected = next((told for told in answers if told.state == "bad"), None)
    if rejected is not None:
        return EventAnswer("bad", "Rejected", f"It was handled. {rejected.text}.", rejected.more)
    seconds = measure_seconds(event)
    took = "" if seconds is None else f", {format_duration(seconds)} after it was accepted"
    many = len(event.queues)
    whom = f"{event.queues[0].queue} has" if many == 1 else f"All {many} queues have"
    ending = f" {answers[-1].text}." if answers else ""
    first = f"{whom} handled it{took}." if many else "All that it caused was handled."
    return EventAnswer("ok", "Handled", first + ending)


def _answer_without_queue(event: TrackedEvent) -> EventAnswer:
    told: Told | None = describe_result(event)
    if event.accepted:
        ending = "" if told is None else f" {told.text}."
        sentence = f"It is in the event log alone: no queue is bound to it.{ending}"
        return EventAnswer("ok", "In the event log", sentence, "" if told is None else told.more)
    if event.operation is not None:
        error = event.operation.error
        detail = "" if error is None else f"{error.code}: {error.message}"
        sentence = f"Its operation is {event.operation.state}; of the event nothing else is left."
        return EventAnswer("unknown", event.operation.state.capitalize(), sentence, detail)
    return EventAnswer("unknown", "Not known", "Its id is known, but nothing that became of it.")
