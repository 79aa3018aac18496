"""The columns, rows and boxes of the flow picture, in units of its view box."""

from dataclasses import dataclass

from workers.ops.flow.entries import ENTRIES
from workers.ops.flow.figures import WORKERS

WIDTH = 1184
TOP = 24  # of the first row; the heads of the columns are above
PITCH = 43  # from one row to the next
ROW_HEIGHT = 36
ENTRY_HEIGHT = 58
LOWER_HEIGHT = 46
GAP = 30  # between the rows and the boxes below them
ROWS = sum(map(len, WORKERS.values()))
BOTTOM = TOP + PITCH * (ROWS - 1) + ROW_HEIGHT  # of the last row
LOWER_Y = BOTTOM + GAP
LOOP_Y = LOWER_Y + LOWER_HEIGHT + 13  # of the line from the outbox to the relay
HEIGHT = LOOP_Y + 7
EVENTS_ROWS = (2, 4)  # of the exchange that every event passes
HISTORY_ROW, UNROUTED_ROW = 5, 6


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its left edge and its width."""

    x: int
    width: int

    @property
    def right(self) -> int:
        """Its right edge."""
        return self.x + self.width


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """The height in the middle."""
        return self.y + self.height / 2


ENTRY, EXCHANGE, LANE, WORKER, STORE = (
    Column(0, 184),
    Column(240, 168),
    Column(456, 444),
    Column(932, 100),
    Column(1064, 120),
)
RELAY = Box(EXCHANGE.x, LOWER_Y, EXCHANGE.width, LOWER_HEIGHT)
RETRY = Box(LANE.x, LOWER_Y, 278, LOWER_HEIGHT)
DEAD = Box(750, LOWER_Y, 150, LOWER_HEIGHT)
OUTBOX = Box(WORKER.x, LOWER_Y, WIDTH - WORKER.x, LOWER_HEIGHT)


def entry_box(index: int) -> Box:
    """Place an entry; the entries share the height of the rows."""
    step = (BOTTOM - TOP - ENTRY_HEIGHT) // (len(ENTRIES) - 1)
    return Box(ENTRY.x, TOP + step * index, ENTRY.width, ENTRY_HEIGHT)


def row_box(column: Column, first: int, last: int | None = None) -> Box:
    """Place a box in the rows from ``first`` to ``last``."""
    y = TOP + PITCH * first
    end = TOP + PITCH * (first if last is None else last) + ROW_HEIGHT
    return Box(column.x, y, column.width, end - y)


def worker_rows(name: str) -> tuple[int, int]:
    """Find the first and the last row of a worker's queues."""
    first = 0
    for worker, queues in WORKERS.items():
        if worker == name:
            return first, first + len(queues) - 1
        first += len(queues)
    raise KeyError(name)


EVENTS_BOX = row_box(EXCHANGE, *EVENTS_ROWS)
POSTGRES_BOX = row_box(STORE, 0, worker_rows("metrics")[1])
