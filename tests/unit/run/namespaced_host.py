"""A host of our own to bear marks: namespaces of this machine's kernel, with a /run that nobody shares."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_FIRST = """
read -r pid _ </proc/self/stat
mount -t tmpfs -o mode=755 tmpfs /run && mount -t proc proc /proc && mount -t sysfs sysfs /sys
ip link set lo up && echo "$pid"
while :; do sleep 3600; done
"""


@contextmanager
def namespaced_host() -> Iterator[int]:
    """Hold a host and give its first process; it has no cgroups, and all its interfaces are its own."""
    isolate = ["unshare", "--fork", "--kill-child=SIGKILL", "--pid", "--net", "--mount", "--uts", "sh", "-c", _FIRST]
    with subprocess.Popen(isolate, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            yield int(parent.stdout.readline())
        finally:
            parent.kill()
