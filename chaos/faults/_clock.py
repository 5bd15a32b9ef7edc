"""The clock of a host: looked at, stepped, and its rate set. Sent as it stands; Python 3.6 and adjtimex(2) will do.

    look                                          prints RAW WALL RATE TICK FREQ STATUS MAXERROR ESTERROR
    set RAW WALL RATE OFFSET TICK FREQ [STATUS MAXERROR ESTERROR]
    check RAW WALL RATE MOST                      ends with 0 where the wall clock is as near as that

RAW and WALL (s) were read at one moment, and from there on the wall clock is to have gone at RATE, measured by
CLOCK_MONOTONIC_RAW, which nothing sets and nothing slews; OFFSET (s) is added, and `keep` leaves the wall clock alone.
"""

import ctypes
import sys
import time

LONG, INT = ctypes.c_long, ctypes.c_int
FREQUENCY, MAXERROR, ESTERROR, STATUS, TICK = 0x2, 0x4, 0x8, 0x10, 0x4000
LONGS = "offset", "freq", "maxerror", "esterror"
MORE = "constant", "precision", "tolerance", "sec", "usec", "tick"


class Timex(ctypes.Structure):
    """As adjtimex(2) has it, up to `tick`; what follows is left to the kernel."""

    _fields_ = [
        ("modes", INT),
        *[(name, LONG) for name in LONGS],
        ("status", INT),
        *[(name, LONG) for name in MORE],
        ("rest", LONG * 24),
    ]


def adjust(modes: int, **values: int) -> Timex:
    """Set what the modes name; return all."""
    timex = Timex(modes=modes, **values)
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        sys.exit("adjtimex: errno %d" % ctypes.get_errno())  # noqa: UP031
    return timex


def both() -> "tuple[float, float]":
    """Return CLOCK_MONOTONIC_RAW and the wall clock at one moment, s: of the nearest of some pairs."""
    found = []
    for _ in range(9):
        before = time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
        wall = time.time()
        after = time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
        found.append((after - before, (before + after) / 2, wall))
    return min(found)[1:]


def look() -> None:
    """Print it; the rate is measured over a tenth of a second."""
    raw, wall = both()
    time.sleep(0.1)
    later, then = both()
    timex = adjust(0)
    kept = (timex.tick, timex.freq, timex.status, timex.maxerror, timex.esterror)
    print(repr(raw), repr(wall), repr((then - wall) / (later - raw)), *kept)  # noqa: T201


def due(raw: str, wall: str, rate: str) -> float:
    """Return what the wall clock is to show now."""
    return float(wall) + (time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - float(raw)) * float(rate)


def put(raw: str, wall: str, rate: str, offset: str, tick: str, freq: str, *state: str) -> None:
    """Set the rate, then the time, which clears the state, then the state."""
    adjust(FREQUENCY | TICK, freq=int(freq), tick=int(tick))
    if offset != "keep":
        time.clock_settime(time.CLOCK_REALTIME, due(raw, wall, rate) + float(offset))
    if state:
        status, maxerror, esterror = map(int, state)
        adjust(STATUS | MAXERROR | ESTERROR, status=status, maxerror=maxerror, esterror=esterror)


def check(raw: str, wall: str, rate: str, most: str) -> None:
    """End with 1 where it is not near."""
    sys.exit(abs(time.time() - due(raw, wall, rate)) > float(most))


if __name__ == "__main__":
    what, words = sys.argv[1], sys.argv[2:]
    if what == "look":
        look()
    elif what == "set":
        put(*words)
    else:
        check(*words)
