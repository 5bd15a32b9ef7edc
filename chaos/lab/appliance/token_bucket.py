"""A token bucket in virtual-scheduling form (GCRA, ITU-T I.371): one number of state, no timer.

The gateway asks it once a request. `rate` (1/s) and `burst` (requests) come with each question, so that a change of
the settings counts at once.
"""

from __future__ import annotations


class TokenBucket:
    """Full at the start; holds `burst` tokens at most and gains `rate` a second."""

    def __init__(self) -> None:
        self._full_at = float("-inf")
        """The time at which the bucket will be full again."""

    def take(self, now: float, rate: float, burst: int) -> float:
        """Take a token and return 0.0, or take none and return the s until there is one."""
        full_at = max(self._full_at, now)
        wait = full_at + 1 / rate - (now + burst / rate)
        if wait > 1e-9:  # less is rounding: an error in the last digits must not refuse a request
            return wait
        self._full_at = full_at + 1 / rate
        return 0.0
