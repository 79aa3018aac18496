"""Says in words why a dead letter is here, and what the messages of its page say."""

from collections.abc import Mapping

STAGES: Mapping[str, str] = {
    "decode": "The message is no event that the queue accepts.",
    "authorize": "Its publisher may not publish this event.",
    "handler": "The event is valid, but handling it failed.",
    "delivery": "Its worker ended each time it handled this message.",
    "parse": "What the webhook said was not understood.",
    "broker": "The broker gave the message up itself.",
}
CODES: Mapping[str, str] = {
    "INVALID_EVENT": "The body does not fit the schema of its event type.",
    "UNKNOWN_TYPE": "Its routing key names no event that the queue accepts.",
    "KEY_MISMATCH": "Its routing key and its content name different events.",
    "TOO_LARGE": "Its body is larger than the limit.",
    "TIMESTAMP_IN_FUTURE": "Its time is in the future: a clock is wrong.",
    "UNVERIFIED_SOURCE": "Its publisher may not speak for this source, or is not known.",
    "UNVERIFIED_OWNER": "Its publisher may not ask on behalf of this owner.",
    "ID_REUSED": "Its source has used the same id for another event.",
    "UNKNOWN_CAMPAIGN": "No campaign has this id.",
    "POISON_MESSAGE": "Its worker ended each time it handled this message.",
    "PLATFORM_FAILED": "The platform failed, and the attempts are used up.",
    "UNRECOGNISED": "What the webhook said was not understood.",
}
DID: Mapping[str, str] = {
    "saved": "Saved.",
    "replayed": "Replayed: the event goes to its queue within a second.",
    "discarded": "Discarded. It stays on file, and can be undone for 10 minutes.",
    "undone": "The discard is undone: the letter is open again.",
}
ACTIONS: Mapping[str, str] = {
    "edited": "edited",
    "replayed": "replayed the letter",
    "discarded": "discarded the letter",
    "undone": "undid the discard",
}


def describe(code: str, stage: str) -> str:
    """Say in one sentence why a letter is here."""
    return CODES.get(code) or STAGES.get(stage) or "It could not be handled."


def split_reason(reason: str) -> list[tuple[str, str]]:
    """Split what the schema says into fields and rules; one part without a field otherwise."""
    parts = []
    for part in reason.split("; "):
        path, colon, rule = part.partition(": ")
        is_field = bool(colon) and " " not in path and len(path) < 200  # noqa: PLR2004 - a path
        parts.append((path, rule) if is_field else ("", part))
    return parts
