"""Independent streams of randomness from one seed: none depends on how much another has drawn."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What is drawn. The numbers are part of what a seed means: append, never reorder."""

    TIMES = 0
    CLASSES = 1
    THINNING = 2
    PROMPTS = 3


def stream(seed: int, which: Stream, *of: int) -> np.random.Generator:
    """Return a stream at its beginning: the child that `SeedSequence(seed).spawn` gives that number, or its own."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(which, *of)))
