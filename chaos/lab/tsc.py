"""The frequency of this machine's time-stamp counter, which an emulated guest must be told (`tsc_early_khz`).

Left alone, a guest measures its TSC against an emulated timer. On a busy machine that fails: the guest then hangs in
early boot, or falls back to a clock in which every delay is a multiple of 4 ms. Under software emulation the guest's
TSC is the machine's own, so its frequency can be measured out here. `/proc/cpuinfo` is no source: where the frequency
of a core varies, "cpu MHz" is the core's, and the TSC keeps its own.

`chaos.lab.vm` asks once a lab.
"""

from __future__ import annotations

import ctypes
import mmap
import time
from collections.abc import Callable

# rdtsc; shl rdx, 32; or rax, rdx; ret
_RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")


def tsc_khz(over: float = 0.05) -> int:
    """Return the TSC's frequency in kHz, counted over `over` seconds of CLOCK_MONOTONIC_RAW (x86-64 only)."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(_RDTSC)
        anchor = ctypes.c_char.from_buffer(page)
        read_tsc: Callable[[], int] = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(anchor))
        t0, c0 = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW), read_tsc()
        time.sleep(over)
        t1, c1 = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW), read_tsc()
        del anchor, read_tsc
    return round((c1 - c0) * 1_000_000 / (t1 - t0))
