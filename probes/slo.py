"""When an answer is good: a limit on its latency, and for a stream on its first token and on the pace of the others.

    latency   end - scheduled                                  to the last byte, from the intended send
    ttft      first token - scheduled                          time to first token
    tpot      (end - first token) / (tokens - 1)               time per output token after the first; 0 for one token

Each is counted as vLLM's serving benchmark does, but from the instant the request was meant to be sent. A limit that is
declared and has nothing to be held against (a stream without a token) is not met.
"""

from __future__ import annotations

from dataclasses import dataclass

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits in s; None where there is none. An answer must meet all of them."""

    latency: float | None = None
    ttft: float | None = None
    tpot: float | None = None

    def met(self, scheduled: int, end: int, first_token: int, tokens: int) -> bool:
        """Return whether a complete answer with these times (ns) is good."""
        if self.latency is not None and end - scheduled > self.latency * NS:
            return False
        if self.ttft is None and self.tpot is None:
            return True
        if not first_token or (self.ttft is not None and first_token - scheduled > self.ttft * NS):
            return False
        return self.tpot is None or end - first_token <= self.tpot * NS * max(tokens - 1, 0) or tokens == 1
