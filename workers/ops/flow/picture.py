"""Draws the flow as one SVG: a pure function from figures to markup.

Columns and rows are constants, so nothing moves when figures change. What changes is named by
``data-live``, ``data-live-state`` and ``data-live-points``; colours and widths follow from
``data-state`` in the style sheet. There is no style attribute, which the pages' policy forbids.
"""

from collections.abc import Iterator

from markupsafe import Markup

from infra.amqp import topology
from workers.ops.flow.edges import draw_edges
from workers.ops.flow.figures import FlowFigures, FlowLane
from workers.ops.flow.layout import (
    DEAD,
    ENTRY,
    EVENTS_BOX,
    EXCHANGE,
    HEIGHT,
    HISTORY_ROW,
    LANE,
    OUTBOX,
    POSTGRES_BOX,
    RELAY,
    RETRY,
    STORE,
    UNROUTED_ROW,
    WIDTH,
    WORKER,
    Box,
    entry_box,
    row_box,
    worker_rows,
)
from workers.ops.flow.nodes import FlowNode
from workers.ops.spark import spark_points

STATES = ("ok", "warn", "bad", "paused", "unknown")
PAD = 12
SPARK_X, SPARK_WIDTH = 648, 40
IN_X, OUT_X, WAITING_X, DRAIN_X = 724, 768, 822, 888
COLUMN_HEADS = (
    (ENTRY.x, "Ingress", "colhead", "start"),
    (EXCHANGE.x, "Exchanges", "colhead", "start"),
    (LANE.x, "Queues", "colhead", "start"),
    (WORKER.x, "Workers", "colhead", "start"),
    (WIDTH, "Database, platforms", "colhead", "end"),
    (SPARK_X + SPARK_WIDTH, "5 min", "colsub", "end"),
    (IN_X, "in/s", "colsub", "end"),
    (OUT_X, "out/s", "colsub", "end"),
    (WAITING_X, "waiting", "colsub", "end"),
    (DRAIN_X, "drained in", "colsub", "end"),
)
JOIN = Markup("").join


def draw_flow(flow: FlowFigures) -> Markup:
    """Draw the whole picture; the texts of others are escaped."""
    heads = (_text(x, 12, text, css, anchor) for x, text, css, anchor in COLUMN_HEADS)
    opened = Markup(
        '<svg class="flow" viewBox="0 0 {} {}" role="group" '
        'aria-label="Flow of events, from ingress to database and platforms">'
    ).format(WIDTH, HEIGHT)
    return opened + JOIN([*heads, *draw_edges(flow), *_draw_boxes(flow)]) + Markup("</svg>")


def _draw_boxes(flow: FlowFigures) -> Iterator[Markup]:
    for index, node in enumerate(flow.entries):
        yield _draw_wide(node, entry_box(index))
    yield _draw_exchange(flow.requests, row_box(EXCHANGE, 0))
    yield _draw_events(flow.events, flow.events_path)
    yield _draw_exchange(flow.history, row_box(EXCHANGE, HISTORY_ROW))
    yield _draw_exchange(flow.unrouted, row_box(EXCHANGE, UNROUTED_ROW))
    for index, lane in enumerate(flow.lanes):
        yield _draw_lane(lane, row_box(LANE, index))
    for name, node in flow.workers.items():
        yield _draw_narrow(node, row_box(WORKER, *worker_rows(name)))
    yield _draw_narrow(flow.postgres, POSTGRES_BOX)
    for index, node in enumerate(flow.platforms.values(), start=worker_rows("sync")[0]):
        yield _draw_narrow(node, row_box(STORE, index))
    yield _draw_wide(flow.relay, RELAY)
    yield _draw_retry(flow)
    yield _draw_wide(flow.dead, DEAD)
    yield _draw_wide(flow.outbox, OUTBOX)


def _draw_wide(node: FlowNode, box: Box) -> Markup:
    """Draw a box with the title left, the figure right, and a line below."""
    y = box.middle - 5
    return _draw_box(
        node,
        box,
        _text(box.x + PAD, y, node.title, "t"),
        _live(box.right - PAD, y, node.value, "t v", f"flow.{node.key}", "end"),
        _live(box.x + PAD, y + 18, node.note, "s", f"flow.{node.key}.note"),
    )


def _draw_narrow(node: FlowNode, box: Box) -> Markup:
    """Draw a box with the figure below the title."""
    return _draw_box(
        node,
        box,
        _text(box.x + PAD, box.middle - 3, node.title, "t"),
        _live(box.x + PAD, box.middle + 12, node.value, "s", f"flow.{node.key}"),
    )


def _draw_exchange(node: FlowNode, box: Box) -> Markup:
    """Draw a box of one line, with the name as it is typed."""
    y = box.middle + 4
    parts = [_text(box.x + PAD, y, node.title, "m")]
    parts.append(_live(box.right - PAD, y, node.value, "s", f"flow.{node.key}", "end"))
    return _draw_box(node, box, *parts)


def _draw_events(node: FlowNode, path: str) -> Markup:
    box, x, key = EVENTS_BOX, EVENTS_BOX.x + PAD, f"flow.{node.key}"
    return _draw_box(
        node,
        box,
        _text(x, box.y + 26, node.title, "m t"),
        _live(x, box.middle - 4, node.value, "big", key),
        _live(x, box.middle + 15, node.note, "s", f"{key}.note"),
        Markup(
            '<svg x="{}" y="{}" width="{}" height="16" viewBox="0 0 96 24" '
            'preserveAspectRatio="none"><path class="mini" d="{}" '
            'data-live-d="flow.events.path"/></svg>'
        ).format(x, box.bottom - 24, box.width - 2 * PAD, path),
    )


def _draw_lane(lane: FlowLane, box: Box) -> Markup:
    y, key, cells = box.y + 23, f"flow.lane.{lane.name}", lane.cells
    texts = (
        (IN_X, cells["in"], f"{key}.in", "in per second"),
        (OUT_X, cells["out"], f"{key}.out", "out per second"),
        (WAITING_X, cells["waiting"], f"{key}.waiting", "waiting"),
        (DRAIN_X, cells["drain"], f"{key}.drain", "drained in"),
    )
    node = FlowNode(f"lane.{lane.name}", lane.name, f"/queues#queue-{lane.name}", state=lane.state)
    return _draw_box(
        node,
        box,
        _text(box.x + 36, y, lane.name, "m t"),
        _live(box.x + 36, y, lane.word, "say", f"{key}.word"),
        _draw_spark(lane, box, f"{key}.points"),
        *(
            _text(x, y, label, "say") + _live(x, y, value, "v", live, "end")
            for x, value, live, label in texts
        ),
        icons=_draw_icons(box.x + PAD, box.y + 10),
    )


def _draw_spark(lane: FlowLane, box: Box, live: str) -> Markup:
    points = spark_points(lane.row.waiting)
    return Markup(
        '<svg x="{}" y="{}" width="{}" height="20" viewBox="0 0 96 24" preserveAspectRatio="none">'
        '<polyline class="mini" points="{}" data-live-points="{}"/></svg>'
    ).format(SPARK_X, box.y + 8, SPARK_WIDTH, points, live)


def _draw_retry(flow: FlowFigures) -> Markup:
    x, y = RETRY.x + 124, RETRY.y + 18
    tiers = []
    for index, tier in enumerate(topology.RETRY_TIERS):
        number = flow.tiers[tier]
        text = "?" if number is None else str(number)
        at = x + 34 * index
        tiers.append(_live(at, y, text, "v", f"flow.tier.{tier}", "middle"))
        tiers.append(_text(at, y, "for", "say"))
        tiers.append(_text(at, y + 17, tier, "s", "middle"))
    title = _text(RETRY.x + PAD, y, flow.retry.title, "t")
    total = _live(RETRY.x + PAD, y + 17, flow.retry.value, "s", f"flow.{flow.retry.key}")
    return _draw_box(flow.retry, RETRY, title, total, *tiers)


def _draw_box(node: FlowNode, box: Box, *texts: Markup, icons: Markup | None = None) -> Markup:
    link = Markup('a href="{}"').format(node.path) if node.path else "g"
    return Markup(
        '<{} class="node" data-state="{}" data-live-state="flow.{}.state">'
        '<rect x="{}" y="{}" width="{}" height="{}" rx="5"/>{}</{}>'
    ).format(
        link,
        node.state,
        node.key,
        box.x + 0.5,
        box.y + 0.5,
        box.width - 1,
        box.height - 1,
        JOIN([icons or "", *texts]),
        "a" if node.path else "g",
    )


def _draw_icons(x: int, y: int) -> Markup:
    """Draw the icon of each state; the style sheet shows the one of the box."""
    return JOIN(
        Markup(
            '<svg x="{}" y="{}" width="16" height="16" viewBox="0 0 16 16" class="i i-{} {}">'
            '<use href="#i-{}"/></svg>'
        ).format(x, y, state, state, state)
        for state in STATES
    )


def _text(x: float, y: float, text: str, css: str, anchor: str = "start") -> Markup:
    return Markup('<text x="{:g}" y="{:g}" class="{}" text-anchor="{}">{} </text>').format(
        x, y, css, anchor, text
    )


def _live(x: float, y: float, text: str, css: str, key: str, anchor: str = "start") -> Markup:
    return Markup(
        '<text x="{:g}" y="{:g}" class="{}" text-anchor="{}" data-live="{}">{}</text>'
    ).format(x, y, css, anchor, key, text)
