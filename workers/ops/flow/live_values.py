"""Writes what changes in the flow picture and in its list. Pure."""

from workers.ops.flow.edges import find_edge_states
from workers.ops.flow.figures import FlowFigures
from workers.ops.spark import spark_points


def write_flow(flow: FlowFigures) -> dict[str, str]:
    """Write the live values of picture and list."""
    values = {}
    for node in flow.nodes:
        values[f"flow.{node.key}"] = node.value
        values[f"flow.{node.key}.note"] = node.note
        values[f"flow.{node.key}.state"] = node.state
    for tier, number in flow.tiers.items():
        values[f"flow.tier.{tier}"] = "?" if number is None else str(number)
    for lane in flow.lanes:
        values[f"flow.lane.{lane.name}.state"] = lane.state
        values[f"flow.lane.{lane.name}.word"] = lane.word
        values[f"flow.lane.{lane.name}.note"] = lane.note
        values |= {f"flow.lane.{lane.name}.{name}": text for name, text in lane.cells.items()}
        values[f"flow.lane.{lane.name}.points"] = spark_points(lane.row.waiting)
    for key, state in find_edge_states(flow).items():
        values[f"flow.edge.{key}"] = state
    values["flow.events.path"] = flow.events_path
    return values
