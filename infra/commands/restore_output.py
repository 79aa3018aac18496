"""Prints the plan, the progress and the result of a restore, for people or as JSON lines."""

import sys
from collections.abc import Mapping, Sequence
from time import monotonic

from infra.commands.output import format_time, print_error, print_json, print_table
from infra.messaging.event_log import LogEntry
from infra.messaging.restore_losses import LossCounter
from infra.messaging.restore_plan import RestorePlan

PROGRESS_INTERVAL = 2.0  # seconds
COLUMNS = ("QUEUE", "RESTORED", "HAD ALREADY", "RETRYING", "DEAD", "DEAD BEFORE")


class RestoreOutput:
    """Output of one restore; ``read`` is the number of events that it has read."""

    def __init__(self, *, as_json: bool, confirms: bool) -> None:
        """Print nothing yet; ``confirms``: ask before anything is changed."""
        self.read = 0
        self._as_json = as_json
        self._confirms = confirms
        self._began = self._told = monotonic()

    def plan(self, plan: RestorePlan) -> None:
        """Print what is about to be done."""
        mark = plan.mark
        if self._as_json:
            print_json(
                {
                    "kind": "plan",
                    "marked_at": mark.marked_at,
                    "oldest_unsettled_seconds": mark.oldest_unsettled_seconds,
                    "start": plan.start,
                    "end": plan.end,
                    "events": plan.events,
                    "missing": plan.missing,
                    "is_continued": plan.is_continued,
                }
            )
            return
        print(
            f"The last mark in this database is of {format_time(mark.marked_at)}; the oldest event"
            f" without effect was then {mark.oldest_unsettled_seconds:.0f} s old."
        )
        if plan.is_continued:
            print("An earlier restore did not come to its end: this one goes on there.")
        if plan.missing:
            print(f"{plan.missing} events are no longer in the log, and will be missing.")
        print(f"To restore: {plan.events} events, from offset {plan.start} to {plan.end}.")

    def confirm(self) -> bool:
        """Ask whether to go on, unless that is not wanted."""
        if not self._confirms:
            return True
        print(
            "Every queue is paused meanwhile; the ingress goes on accepting. Go on? [y/N] ", end=""
        )
        sys.stdout.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def progress(self, plan: RestorePlan, entries: Sequence[LogEntry], losses: LossCounter) -> None:
        """Count a stretch, and print how far it is every few seconds."""
        losses.add(entries)
        self.read += len(entries)
        at = monotonic()
        if at - self._told < PROGRESS_INTERVAL:
            return
        self._told = at
        rate = self.read / max(at - self._began, 0.001)
        if self._as_json:
            print_json({"kind": "progress", "read": self.read, "offset": entries[-1].offset})
        else:
            print(f"{self.read} of about {plan.events} events ({rate:.0f}/s)")
        sys.stdout.flush()

    def result(
        self,
        counts: Mapping[str, Mapping[str, int]],
        seconds: float,
        triggered: int,
        losses: LossCounter,
        *,
        is_cleared: bool,
    ) -> None:
        """Print what was restored and what was not."""
        if self._as_json:
            print_json(
                {
                    "kind": "result",
                    "read": self.read,
                    "seconds": round(seconds, 3),
                    "queues": counts,
                    "campaigns_triggered": triggered,
                    "copies_cleared": is_cleared,
                    "not_restored": losses.describe(),
                }
            )
            return
        print(f"{self.read} events in {seconds:.1f} s ({self.read / max(seconds, 0.001):.0f}/s)")
        print_table(
            COLUMNS,
            [
                (
                    name,
                    *(
                        str(count[key])
                        for key in ("handled", "duplicates", "retried", "dead", "filed")
                    ),
                )
                for name, count in counts.items()
            ],
        )
        print(f"{triggered} campaigns are pushed to their platforms again. The queues go on.")
        if not is_cleared:
            print_error("Redis did not delete its copies of campaigns: they expire within an hour")
        print("Not restored:")
        for line in losses.describe():
            print(f"- {line}")

    def refuse(self, reason: str) -> None:
        """Say why it was not done."""
        if self._as_json:
            print_json({"kind": "refused", "reason": reason})
        else:
            print_error(reason)
