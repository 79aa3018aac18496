"""Answers in one sentence whether anything is wrong, where, and what is paused. Pure."""

from collections.abc import Sequence

from workers.ops.flow.figures import FlowFigures
from workers.ops.format import format_count
from workers.ops.sampler import Sample

MAX_NAMED = 3  # of one kind; the others are counted
WELL = "Events are accepted and take effect."


def build_lede(sample: Sample, flow: FlowFigures) -> str:
    """Build the answer: what is known to be wrong, then dead letters, then pauses."""
    if not sample.database:
        return "Not known: Postgres does not answer. Events are still accepted if the ingress runs."
    wrong = [*_name_servers(sample), *_name_pages(sample)]
    wrong += [*_name_lanes(flow), *_name_paths(sample)]
    parts = [f"{_capitalize(one)}." for one in wrong] or [WELL]
    if sample.dead:
        noun = "dead letter waits" if sample.dead == 1 else "dead letters wait"
        parts.append(f"{format_count(sample.dead)} {noun} for a person.")
    parts.append(_name_pauses(sample))
    return " ".join(parts)


def _name_servers(sample: Sample) -> list[str]:
    servers = (("RabbitMQ", sample.broker), ("Redis", sample.redis))
    return [f"{name} does not answer this console" for name, up in servers if not up]


def _name_pages(sample: Sample) -> list[str]:
    """Quote the oldest alert that pages; the list below has the others."""
    alerts = sample.alerts
    if not alerts.is_known:
        return [f"alerts are not known, because {alerts.problem}"]
    pages = alerts.count("page")
    if not pages:
        return []
    more = f", and {pages - 1} more fire" if pages > 1 else ""
    return [f"{alerts.alerts[0].summary}{more}"]


def _name_lanes(flow: FlowFigures) -> list[str]:
    kinds = {
        "no consumer": ("has no consumer", "have no consumer"),
        "stopped": ("is stopped by its circuit breaker", "are stopped by their circuit breakers"),
        "slow": ("is slow", "are slow"),
        "stands still": ("stands still", "stand still"),
    }
    said = []
    for word, (one, many) in kinds.items():
        names = [lane.name for lane in flow.lanes if lane.word == word]
        if names:
            said.append(f"{_join(names)} {one if len(names) == 1 else many}")
    failing = [node.title for node in flow.platforms.values() if node.state == "bad"]
    return [*said, *([f"Calls to {_join(failing)} fail"] if failing else [])]


def _name_paths(sample: Sample) -> list[str]:
    said = []
    if sample.flow is not None and sample.flow.routing.broken:
        said.append(f"the path to {_join(sorted(sample.flow.routing.broken))} is broken")
    if sample.outbox is not None and sample.outbox.parked:
        said.append(f"{format_count(sample.outbox.parked)} outbox rows are parked")
    return said


def _name_pauses(sample: Sample) -> str:
    held = [pause for pause in sample.pauses if pause.code_version is None]
    if not held:
        return "Nothing is paused."
    names = [f"an account at {one.name}" if one.account else one.name for one in held]
    return f"{_capitalize(_join(names))} {'is' if len(names) == 1 else 'are'} paused."


def _join(names: Sequence[str]) -> str:
    shown, more = list(names[:MAX_NAMED]), len(names) - MAX_NAMED
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _capitalize(text: str) -> str:
    """Begin a sentence; names of queues keep their first letter."""
    word = text.partition(" ")[0]
    return text if "." in word or "," in word else text[:1].upper() + text[1:]
