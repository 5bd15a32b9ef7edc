"""What the other clients print, read. Pure: text in, an outcome out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from scripts.benchmarks.processes import BenchError


@dataclass(frozen=True)
class Outcome:
    """What a client says that it reached: answers with status 200 per second, and how many requests failed."""

    rate: float
    failed: int


def read_wrk(text: str) -> Outcome:
    """Read wrk's report. It counts every answer in Requests/sec, so other statuses are taken out of the rate."""
    total, seconds = _find(r"(\d+) requests in ([\d.]+)(ms|s|m)", text).group(1, 2)
    scale = {"ms": 1e-3, "s": 1.0, "m": 60.0}[_find(r"requests in [\d.]+(ms|s|m)", text)[1]]
    other = int(found[1]) if (found := re.search(r"Non-2xx or 3xx responses: (\d+)", text)) else 0
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    lost = sum(map(int, broken.groups())) if broken else 0
    return Outcome((int(total) - other) / (float(seconds) * scale), other + lost)


def read_hey(text: str) -> Outcome:
    """Read hey's report; its Requests/sec counts failures too, so the 200s are counted over its total time."""
    seconds = float(_find(r"Total:\s+([\d.]+) secs", text)[1])
    statuses = {
        code: int(count) for code, count in re.findall(r"^\s*\[(\d{3})\]\s+(\d+) responses", text, re.MULTILINE)
    }
    errors = sum(int(count) for count in re.findall(r"^\s*\[(\d+)\]\s+(?!\d+ responses)\S", text, re.MULTILINE))
    return Outcome(statuses.get("200", 0) / seconds, errors + sum(statuses.values()) - statuses.get("200", 0))


def read_locust(text: str) -> Outcome:
    """Read `locust --json`: one entry a kind of request, with its times in seconds since the epoch."""
    entries = json.loads(text[text.index("[") :])
    if not entries:
        raise BenchError("locust made no request")
    requests = sum(entry["num_requests"] for entry in entries)
    failed = sum(entry["num_failures"] for entry in entries)
    began = min(entry["start_time"] for entry in entries)
    ended = max(entry["last_request_timestamp"] for entry in entries)
    return Outcome((requests - failed) / (ended - began), failed)


def read_closed_loop(text: str) -> Outcome:
    """Read what `closed_loop` prints."""
    found = json.loads(text)
    return Outcome(found["ok"] / found["seconds"], found["failed"])


def _find(pattern: str, text: str) -> re.Match[str]:
    found = re.search(pattern, text)
    if found is None:
        raise BenchError(f"no {pattern!r} in the output: {text[-500:]!r}")
    return found
