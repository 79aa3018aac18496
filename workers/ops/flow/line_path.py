"""Writes a line of values as the data of an SVG path, with a gap where a value is not known."""

from collections.abc import Callable, Sequence

MIN_TOP = 1.0  # the least value at the top, so that what is almost nothing is flat


def trace_line(
    values: Sequence[float | None], x: Callable[[int], float], y: Callable[[float], float]
) -> str:
    """Write ``M`` and ``L`` commands; a value between two gaps is a short dash."""
    parts: list[str] = []
    is_drawing = False
    for index, value in enumerate(values):
        if value is None:
            is_drawing = False
            continue
        place = f"{x(index):.1f},{y(value):.1f}"
        if not is_drawing:
            parts.append(f"M{place} h0.1")
        parts.append(f"L{place}")
        is_drawing = True
    return " ".join(parts)


def trace_spark(values: Sequence[float | None]) -> str:
    """Write a sparkline of 96 by 24 units: zero is at the bottom, the highest value at the top."""
    top = max([MIN_TOP, *(value for value in values if value is not None)])
    step = 96 / max(len(values) - 1, 1)
    return trace_line(values, lambda index: index * step, lambda value: 22.5 - 20 * value / top)
