"""Draws the points of sparklines, for templates and for live values."""

from collections.abc import Sequence

WIDTH, HEIGHT = 96, 24  # units of the picture
BASE = 22.5  # y of zero
RISE = 20  # units from zero to the highest value
MAX_POINTS = 31


def spark_points(values: Sequence[float]) -> str:
    """Write the points of a line, oldest value first; the highest value is at the top.

    Of more than MAX_POINTS values evenly spaced ones are drawn, the newest among them.
    """
    stride = max(1, -(-len(values) // MAX_POINTS))
    drawn = values[::-1][::stride][::-1]
    top = max([1.0, *drawn])
    step = WIDTH / max(len(drawn) - 1, 1)
    return " ".join(
        f"{index * step:.1f},{BASE - RISE * value / top:.1f}" for index, value in enumerate(drawn)
    )
