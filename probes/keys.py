"""Which key a request is about: how draws fall on keys 0, 1, 2... of a fixed number, alike or not. Pure.

    alike   every key is as likely as any other
    hot     a `share` of the draws falls on the first `hot` of the keys, alike among them, and the rest on the others
    zipf    key k has a probability that goes as 1 / (k + 1)^s (Zipf 1949; the law that YCSB's "zipfian" follows)

The draw itself follows from the seed and the arrival's number, whatever the law: so a law that comes and goes leaves
all else as it is, and the same load is about the same keys whenever it is repeated.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from probes.checks import check_number, check_optional
from probes.errors import PlanError

MOST = 1_000_000
_WORD = 8  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLaw:
    """A law that is not alike: `share` of the draws on `hot` of the keys (both of 1), or Zipf's of exponent `zipf`."""

    hot: float | None = None
    share: float | None = None
    zipf: float | None = None

    def __post_init__(self) -> None:
        if (self.hot is None) != (self.share is None) or (self.hot is None) == (self.zipf is None):
            raise PlanError("keys: give either hot and share, or zipf")
        for name in ("hot", "share"):
            check_optional(f"keys.{name}", getattr(self, name), above=0)
            if (getattr(self, name) or 0) > 1:
                raise PlanError(f"keys.{name}: must be at most 1; found {getattr(self, name)!r}")
        check_optional("keys.zipf", self.zipf, above=0)

    def probabilities(self, keys: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the probability of each key."""
        if self.zipf is not None:
            weights = np.arange(1, keys + 1, dtype=np.float64) ** -self.zipf
            return np.asarray(weights / weights.sum())
        assert self.hot is not None and self.share is not None, "it is one or the other"
        few = hot_keys(keys, self.hot)
        if few == keys:
            return np.full(keys, 1 / keys)
        return np.concatenate((np.full(few, self.share / few), np.full(keys - few, (1 - self.share) / (keys - few))))


def hot_keys(keys: int, hot: float) -> int:
    """Return how many keys are hot: the share rounded up, so at least one."""
    return max(1, min(keys, math.ceil(hot * keys - 1e-9)))


def key_of(keys: int, law: KeyLaw | None, seed: int) -> Callable[[int], int]:
    """Return a function from an arrival's number to its key; `law` is None where all are alike."""
    check_number("keys", keys, above=0)
    secret = blake2b(b"key %d" % seed).digest()

    def draw(number: int) -> float:
        return int.from_bytes(blake2b(b"%d" % number, digest_size=_WORD, key=secret).digest(), "big") / 2**64

    if law is None:
        return lambda number: min(int(draw(number) * keys), keys - 1)
    upto = np.cumsum(law.probabilities(keys)).tolist()
    return lambda number: min(bisect_right(upto, draw(number)), keys - 1)
