"""wrk at a given rate: prepared requests, in an order that keeps their proportions."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.stage import PLACE

CONNECTIONS = 32
TIMEOUT = 20  # seconds for an answer
# All requests are prepared before the first is sent. ``delay`` is the time in milliseconds until
# the next one (https://github.com/wg/wrk/blob/master/SCRIPTING).
SCRIPT = """
local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } moment; int clock_gettime(int, moment *);")
local clock = ffi.new("moment")
local function now()
  ffi.C.clock_gettime(1, clock)
  return tonumber(clock.s) * 1000 + tonumber(clock.ns) / 1e6
end
local requests, given, sent, started = {}, 0, 0, nil
function init(args)
  for line in io.lines("%(file)s") do
    local path, headers, body = line:match("^(.-)\\t(.-)\\t(.*)$")
    local own = {["Content-Type"] = "application/json"}
    for name, value in headers:gmatch("(%%S-)=(%%S+)") do own[name] = value:gsub("|", " ") end
    local method = body == "" and "GET" or "POST"
    requests[#requests + 1] = wrk.format(method, path, own, body)
  end
end
function delay()
  started = started or now()
  given = given + 1
  return math.max(0, started + (given - 1) * 1000 / %(rate)f - now())
end
function request()
  sent = sent + 1
  return requests[(sent - 1) %% #requests + 1]
end
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``units`` events or calls are accepted with it."""

    path: str
    headers: str  # name=value, separated by spaces; | stands for a space
    body: str
    units: int = 1


@dataclass(frozen=True, slots=True)
class Sent:
    """What wrk has done: answered requests, and what went wrong."""

    requests: int
    wrong: str = ""


async def send(port: int, requests: Sequence[Request], rate: float, seconds: int) -> Sent:
    """Send ``rate`` requests a second; raises ``RuntimeError`` if none is answered."""
    file, script = PLACE.state / "requests.tsv", PLACE.state / "paced.lua"
    lines = (f"{one.path}\t{one.headers}\t{one.body}\n" for one in requests)
    file.write_text("".join(lines))
    script.write_text(SCRIPT % {"file": file, "rate": rate})
    limits = ("-c", str(CONNECTIONS), "-d", f"{seconds}s", "--timeout", f"{TIMEOUT}s")
    words = ("-t", "1", *limits, "-s", str(script), f"http://127.0.0.1:{port}/")
    running = await asyncio.create_subprocess_exec("wrk", *words, stdout=asyncio.subprocess.PIPE)
    output, _ = await running.communicate()
    said = output.decode()
    wrong = re.search(r"Non-2xx.*|Socket errors.*", said)
    done = re.search(r"(\d+) requests in", said)
    if done is None or done[1] == "0":
        raise RuntimeError(f"{requests[0].path}: nothing was answered in {seconds} s: {said}")
    return Sent(int(done[1]), wrong[0] if wrong else "")


def interleave(parts: Sequence[tuple[float, Sequence[Request]]]) -> list[Request]:
    """Merge lists of requests so that each has its share of the units at every moment.

    It ends where the first list does.
    """
    spent, taken = [0.0] * len(parts), [0] * len(parts)
    merged: list[Request] = []
    while True:
        behind = min(range(len(parts)), key=lambda one: spent[one] / parts[one][0])
        requests = parts[behind][1]
        if taken[behind] == len(requests):
            return merged
        merged.append(requests[taken[behind]])
        spent[behind] += requests[taken[behind]].units
        taken[behind] += 1


def compact(value: object) -> str:
    """Write a body on one line."""
    return json.dumps(value, separators=(",", ":"))
