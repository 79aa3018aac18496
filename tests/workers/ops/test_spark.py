"""The points of sparklines."""

from workers.ops.spark import MAX_POINTS, spark_points


def test_the_points_of_a_sparkline_stay_in_its_picture_and_are_few() -> None:
    assert spark_points([]) == ""
    assert spark_points([0]) == "0.0,22.5"
    assert spark_points([0, 10]) == "0.0,22.5 96.0,2.5"
    points = [tuple(map(float, one.split(","))) for one in spark_points(range(150)).split()]
    assert len(points) <= MAX_POINTS
    assert points[-1] == (96.0, 2.5)
    assert all(0 <= x <= 96 and 2.5 <= y <= 22.5 for x, y in points)
