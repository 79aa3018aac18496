"""The lines of the flow picture: their states by rate, and their paths. Pure."""

from collections.abc import Iterator, Mapping

from markupsafe import Markup

from workers.ops.flow.figures import WORKERS, FlowFigures
from workers.ops.flow.layout import (
    DEAD,
    ENTRY,
    EVENTS_BOX,
    EXCHANGE,
    HISTORY_ROW,
    LANE,
    LOOP_Y,
    OUTBOX,
    RELAY,
    RETRY,
    STORE,
    WORKER,
    entry_box,
    row_box,
)

RATE_LIMITS = (1, 20, 150)  # events per second, between the four widths
PAUSED, NOTHING = "paused", "none"
BEND = 8  # radius of a corner
TIP = 6  # length of an arrow's head
CAUSED = "caused"


def rate_state(rate: float | None, *, is_held: bool = False) -> str:
    """Name the state of a line: ``w1`` to ``w4`` by rate, ``paused``, ``none`` if not known."""
    if is_held:
        return PAUSED
    if rate is None:
        return NOTHING
    return f"w{1 + sum(rate >= limit for limit in RATE_LIMITS)}"


def find_edge_states(flow: FlowFigures) -> Mapping[str, str]:
    """Find the state of every line whose width follows a rate, by its key."""
    states = {node.key: rate_state(node.rate) for node in flow.entries}
    states[CAUSED] = rate_state(None if flow.rates is None else flow.rates.caused)
    for lane in flow.lanes:
        row, key = lane.row, f"lane.{lane.name}"
        states[f"{key}.in"] = rate_state(row.rate_in)
        states[f"{key}.out"] = rate_state(row.rate_out, is_held=lane.is_held)
    return states


def draw_edges(flow: FlowFigures) -> Iterator[Markup]:
    """Draw every line, below the boxes."""
    states = find_edge_states(flow)
    joint, center = (ENTRY.right + EXCHANGE.x) // 2, EVENTS_BOX.middle
    for index, node in enumerate(flow.entries):
        box = entry_box(index)
        y = box.middle + (13 if index == 0 else 0)
        path = _bend(box.right, y, EXCHANGE.x, center, joint)
        yield _line(path, states[node.key], node.key)
    yield _tip_right(EXCHANGE.x, center)
    yield from _draw_caused(states[CAUSED], joint, center)
    first = row_box(EXCHANGE, 0)
    yield from _straight(ENTRY.right, EXCHANGE.x, first.middle, NOTHING)
    yield from _down(first.x + 84, EVENTS_BOX.bottom, row_box(EXCHANGE, HISTORY_ROW).y, "w2")
    for index, lane in enumerate(flow.lanes):
        yield from _draw_lane(index, lane.name, states)
    bottom = row_box(LANE, len(flow.lanes) - 1).bottom
    yield from _down(RETRY.x + 60, bottom, RETRY.y, "warn", "failed")
    yield from _up(RETRY.x + 130, RETRY.y, bottom, "back to its queue")
    yield from _down(DEAD.x + 52, bottom, DEAD.y, "bad", "given up")
    yield from _down(OUTBOX.x + 36, bottom, OUTBOX.y, CAUSED, "caused events")


def _draw_lane(index: int, name: str, states: Mapping[str, str]) -> Iterator[Markup]:
    y, key = row_box(LANE, index).middle, f"lane.{name}"
    into, out = states[f"{key}.in"], states[f"{key}.out"]
    if index == 0:  # of the requests' own exchange
        yield from _straight(EXCHANGE.right, LANE.x, y, into, f"{key}.in")
    else:
        joint = (EXCHANGE.right + LANE.x) // 2
        path = _bend(EXCHANGE.right, EVENTS_BOX.middle, LANE.x, y, joint)
        yield _line(path, into, f"{key}.in")
        yield _tip_right(LANE.x, y)
    yield from _straight(LANE.right, WORKER.x, y, out, f"{key}.out")
    if name not in WORKERS["relay"]:
        yield from _straight(WORKER.right, STORE.x, y, out, f"{key}.out")


def _draw_caused(state: str, joint: int, center: float) -> Iterator[Markup]:
    """Draw what workers cause: outbox, relay, and back to the exchange."""
    yield _line(_bend(EXCHANGE.x, RELAY.middle, EXCHANGE.x, center, joint), state, CAUSED, CAUSED)
    start, end = OUTBOX.x + 110, RELAY.x + RELAY.width // 2
    path = (
        f"M{start},{OUTBOX.bottom} V{LOOP_Y - BEND} Q{start},{LOOP_Y} {start - BEND},{LOOP_Y} "
        f"H{end + BEND} Q{end},{LOOP_Y} {end},{LOOP_Y - BEND} V{RELAY.bottom + TIP}"
    )
    yield _line(path, state, CAUSED, CAUSED)
    yield _tip_up(end, RELAY.bottom, CAUSED)


def _bend(x1: float, y1: float, x2: float, y2: float, joint: float) -> str:
    """Write a path that leaves and arrives level, with two corners at ``joint``."""
    if y1 == y2:
        return f"M{x1},{y1:g} H{x2 - 4}"
    turn = BEND if y2 > y1 else -BEND
    before = joint - BEND if x1 < joint else joint + BEND
    return (
        f"M{x1},{y1:g} H{before} Q{joint},{y1:g} {joint},{y1 + turn:g} "
        f"V{y2 - turn:g} Q{joint},{y2:g} {joint + BEND},{y2:g} H{x2 - 4}"
    )


def _straight(x1: int, x2: int, y: float, state: str, key: str = "") -> Iterator[Markup]:
    yield _line(f"M{x1},{y:g} H{x2 - 5}", state, key)
    yield _tip_right(x2, y, state, key)


def _down(x: int, y1: int, y2: int, kind: str, label: str = "") -> Iterator[Markup]:
    css = "" if kind.startswith("w") and kind != "warn" else kind
    yield _line(f"M{x},{y1} V{y2 - 5}", "w2", "", css)
    yield _tip(f"M{x - 3.5},{y2 - TIP} L{x},{y2} L{x + 3.5},{y2 - TIP} Z", css)
    if label:
        yield _label(x + 8, y2 - 10, label)


def _up(x: int, y1: int, y2: int, label: str) -> Iterator[Markup]:
    yield _line(f"M{x},{y1} V{y2 + 5}", "w2")
    yield _tip_up(x, y2, "")
    yield _label(x + 8, y1 - 10, label)


def _line(path: str, state: str, key: str = "", css: str = "") -> Markup:
    live = Markup(' data-live-state="flow.edge.{}"').format(key) if key else ""
    return Markup('<path class="edge {}" data-state="{}"{} d="{}"/>').format(css, state, live, path)


def _tip(path: str, css: str, state: str = "", key: str = "") -> Markup:
    live = Markup(' data-live-state="flow.edge.{}"').format(key) if key else ""
    return Markup('<path class="tip {}" data-state="{}"{} d="{}"/>').format(css, state, live, path)


def _tip_right(x: int, y: float, state: str = "", key: str = "") -> Markup:
    path = f"M{x - TIP},{y - 3.5:g} L{x},{y:g} L{x - TIP},{y + 3.5:g} Z"
    return _tip(path, "", state, key)


def _tip_up(x: int, y: int, css: str) -> Markup:
    return _tip(f"M{x - 3.5},{y + TIP} L{x},{y} L{x + 3.5},{y + TIP} Z", css)


def _label(x: int, y: int, text: str) -> Markup:
    return Markup('<text x="{}" y="{}" class="lab">{} </text>').format(x, y, text)
