"""Leaves bad events in the console, for a person to mend (step 7)."""

from collections.abc import Mapping
from typing import Any

from infra.deploy.demo.api_client import wait_until
from infra.deploy.demo.scenario import Scenario, print_note, print_title
from infra.deploy.demo.security_steps import REPORTED, get_upstream

LEFT_DAY = "2026-01-18"
# What is wrong with each: a field without a value, an impossible one, and a day that there is not.
FAULTS: tuple[Mapping[str, Any], ...] = (
    {"clicks": None},
    {"clicks": None},
    {"impressions": -5},
    {"date": "2026-02-30"},
)


async def leave_bad_events(scenario: Scenario) -> None:
    """Publish bad events, and wait until they are dead letters; they stay open.

    Those of an earlier story that nobody has mended do as well.
    """
    print_title("7. Bad events stay open, for you to mend in the console.")
    upstream, campaign = get_upstream(scenario), scenario.campaigns["gemini"]

    async def count_open() -> int:
        rows = await scenario.client.dead_letters("list")
        return sum(row["source"] == upstream.source for row in rows)

    before = await count_open()
    if before >= len(FAULTS):
        print_note("those of an earlier story are still there")
        return
    events = [upstream.delta(campaign, LEFT_DAY, 40) for _ in FAULTS]
    for event, fault in zip(events, FAULTS, strict=True):
        changed = {**event["data"], **fault}
        event["data"] = {name: value for name, value in changed.items() if value is not None}
        await scenario.listener.publish(event, f"{REPORTED}.{campaign['platform']}")

    async def filed() -> bool:
        return await count_open() >= before + len(events)

    await wait_until("the bad events are dead letters", filed)
    print_note(f"{len(events)} events have three kinds of faults", *events)


def describe_console(env: Mapping[str, str]) -> str:
    """Say where the console is and what to look at there; empty where its address is not known."""
    urls = dict(pair.partition("=")[::2] for pair in env.get("PROCESS_URLS", "").split())
    if "ops" not in urls:
        return ""
    return f"""
See it in the console, {urls["ops"]} (log in as {env.get("ADRELAY_ADMIN_EMAIL", "an admin")}):

  /              what flows, what waits, and what is wrong
  /dead-letters  the bad events of step 7: why they failed, a form to mend one, dry run, replay
  /events        every event of the story, its journey and what it caused
  /queues        the queues and processes; pause one and run the story again
"""
