"""The kernel's traffic control by netlink (rtnetlink(7), tc(8)'s own protocol), in any network namespace.

Messages go out and come back through pyroute2; the options of a netem are encoded in `_netem`, since the 64-bit times
and rates are not among those pyroute2 knows. Each namespace has one thread that has entered it (setns(2) moves a
thread, not a process) and holds the socket; every call is a task for that thread, so callers may be many.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, nlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_DELQDISC, RTM_NEWQDISC, TC_H_ROOT
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from chaos.contracts import PlantQdisc, UprootQdisc
from chaos.errors import CommandFailed, Unreachable
from chaos.kernel import NO_HANDLE, ROOT, AtRoot, Beside, Link, Qdisc
from chaos.targets import _netem, _tbf
from chaos.targets._tc import IMPAIRMENT, OURS, REDIRECT, device_beside

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_CLSACT_HOOKS = (0xFFFFFFF2, 0xFFFFFFF3)  # TC_H_MIN_INGRESS and TC_H_MIN_EGRESS, linux/pkt_sched.h


class _RawTc(nlmsg):  # type: ignore[misc]  # pyroute2 carries no types
    """A traffic-control message whose options are bytes of our own making.

    Not a subclass of pyroute2's own: that one keeps its attribute types in the class once a dump was read, a subclass
    inherits them, and the options would go out as zeros.
    """

    prefix = tcmsg.prefix
    fields = tcmsg.fields
    nla_map = (("TCA_UNSPEC", "none"), ("TCA_KIND", "asciiz"), ("TCA_OPTIONS", "cdata"))


class Netlink:
    """One network namespace: `namespace` is a path such as /proc/PID/ns/net, None for our own."""

    def __init__(self, host: str, namespace: str | None) -> None:
        self._host, self._namespace = host, namespace
        self._thread: ThreadPoolExecutor | None = None
        self._socket: Any = None

    def link(self, interface: str) -> Link:
        """Read an interface: its qdiscs with their counters, its filters, its speed (None: netlink does not say)."""
        return self._inside(lambda: self._link(interface))

    def plant(self, action: PlantQdisc) -> None:
        """Make the impairment the root. No flow is exempt here: netlink needs no network path to the host."""
        flags = NLM_F_CREATE | (NLM_F_REPLACE if action.replaces else NLM_F_EXCL)
        kind, options = action.impairment.kind, _netem.encode(action.impairment.options)
        attributes = [("TCA_KIND", kind), ("TCA_OPTIONS", options)]
        self._inside(lambda: self._send(RTM_NEWQDISC, flags, action.interface, attributes))

    def uproot(self, action: UprootQdisc) -> None:
        """Delete the root while it is ours; otherwise there is nothing to do."""
        root = self.link(action.interface).root
        if root is not None and root.handle in OURS:
            self._inside(lambda: self._send(RTM_DELQDISC, 0, action.interface, []))

    def close(self) -> None:
        """End the thread and close its socket; a later call starts anew."""
        if self._thread is not None:
            self._inside(lambda: self._socket.close())
            self._thread.shutdown()
            self._thread = None

    def _link(self, interface: str) -> Link:
        index = self._index(interface)
        if index is None:
            return Link(interface, exists=False)
        qdiscs = tuple(_qdisc(message) for message in self._socket.get_qdiscs(index))
        parents = {parent for q in qdiscs if q.handle != NO_HANDLE for parent in _hooks(q)}
        filters = {_filter(f) for parent in parents for f in self._socket.get_filters(index, parent=parent)}
        return Link(interface, True, qdiscs, tuple(sorted(filters)))

    def _send(self, kind: int, flags: int, interface: str, attributes: Sequence[tuple[str, object]]) -> None:
        message = _RawTc()
        message["index"] = self._index(interface)
        message["parent"] = TC_H_ROOT
        message["handle"] = _number(IMPAIRMENT) if kind == RTM_NEWQDISC else 0
        message["attrs"] = attributes
        try:
            self._socket.nlm_request(message, kind, NLM_F_REQUEST | NLM_F_ACK | flags)
        except NetlinkError as error:
            did = "qdisc add" if kind == RTM_NEWQDISC else "qdisc del"
            raise CommandFailed(self._host, f"netlink: {did} {interface}", error.code, "", str(error)) from error

    def _index(self, interface: str) -> int | None:
        found = self._socket.link_lookup(ifname=interface)
        return int(found[0]) if found else None

    def _inside(self, task: Callable[[], T]) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, f"netlink {self._host}", self._enter)
        try:
            return self._thread.submit(task).result()
        except BrokenExecutor as error:
            self._thread = None
            raise Unreachable(f"{self._host}: its network namespace {self._namespace} can't be entered") from error

    def _enter(self) -> None:
        """Run once in the thread: enter the namespace, open the socket there."""
        if self._namespace:
            descriptor = os.open(self._namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {self._namespace}")
            finally:
                os.close(descriptor)
        self._socket = IPRoute()
        self._socket.asyncore.status["nlm_generator"] = False


def _number(handle: str) -> int:
    return int(handle.rstrip(":"), 16) << 16


def _hooks(qdisc: Qdisc) -> tuple[int, ...]:
    """Return where filters can hang on a qdisc."""
    return _CLSACT_HOOKS if qdisc.kind == "clsact" else (_number(qdisc.handle),)


def _qdisc(message: Any) -> Qdisc:
    kind, stats = message.get_attr("TCA_KIND"), message.get_attr("TCA_STATS") or {}
    options = message.get_attr("TCA_OPTIONS")
    raw = bytes(options.data[options.offset + 4 : options.offset + options.length]) if hasattr(options, "data") else b""
    return Qdisc(
        kind=kind,
        handle=f"{message['handle'] >> 16:x}:",
        parent=_parent(message["parent"]),
        options=_netem.decode(raw) if kind == "netem" else {"raw": raw.hex()},
        packets=stats.get("packets", 0) if stats else 0,
        dropped=stats.get("drop", 0) if stats else 0,
    )


def _parent(number: int) -> str:
    if number == TC_H_ROOT:
        return ROOT
    major, minor = number >> 16, number & 0xFFFF
    return f"{major:x}:{minor:x}" if major else f":{minor:x}"


def _filter(message: Any) -> str:
    fields = " ".join(f"{name} {message[name]:x}" for name in ("parent", "handle", "info"))
    return f"{message.get_attr('TCA_KIND')} {fields}"
