"""The kernel's traffic control by netlink (rtnetlink(7), tc(8)'s own protocol), in any network namespace.

Messages go out and come back through pyroute2; the options of a netem are encoded in `_netem`, since the 64-bit times
and rates are not among those pyroute2 knows. Each namespace has one thread that has entered it (setns(2) moves a
thread, not a process) and holds the socket; every call is a task for that thread, so callers may be many.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, nlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_DELQDISC, RTM_NEWQDISC, RTM_NEWTFILTER, TC_H_ROOT
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from chaos.contracts import PlantQdisc, SetDcb
from chaos.errors import CommandFailed, Unreachable
from chaos.kernel import NO_HANDLE, OUR_PREFERENCES, OURS, ROOT, AtRoot, Beside, Dcb, Link, Qdisc
from chaos.selection import Steer
from chaos.targets import _dcb, _netem, _nla, _tbf, _u32

T = TypeVar("T")
_CODECS = {"netem": _netem, "tbf": _tbf}
_CLONE_NEWNET = 0x40000000
_HOOKS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}  # TC_H_MIN_INGRESS and TC_H_MIN_EGRESS, linux/pkt_sched.h
_PROTOCOLS = {"ip": 0x0800, "ipv6": 0x86DD, "all": 0x0003}  # linux/if_ether.h
_HTB_INIT = 2  # struct tc_htb_glob; its last field counts
_MADE_BY_TRAFFIC = ("fq_codel", "sfq", "cake")  # a class for each flow just now


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
        """Place the impairment. No flow is exempt here: netlink needs no network path to the host."""
        match action.place:
            case AtRoot(former):
                flags = NLM_F_REPLACE if former else NLM_F_EXCL
                self._inside(lambda: self._add_qdiscs(action.interface, action, flags))
            case Beside() as place:
                self._inside(lambda: self._plant_beside(action, place))

    def uproot(self, interface: str) -> None:
        """Delete the root while it is ours; otherwise there is nothing to do."""
        root = self.link(interface).root
        if root is not None and root.handle in OURS:
            self._inside(lambda: self._send("qdisc del", RTM_DELQDISC, 0, interface))

    def dcb(self, interface: str) -> Dcb:
        """Read an interface's data centre bridging."""
        return self._inside(lambda: _dcb.read(interface))

    def set_dcb(self, action: SetDcb) -> None:
        """Set a part of it; raises CommandFailed for what the kernel refuses."""
        try:
            self._inside(lambda: _dcb.put(action))
        except OSError as error:
            what = f"netlink: dcb set {action.interface}"
            raise CommandFailed(self._host, what, error.errno or 1, "", str(error)) from error

    def _plant_beside(self, action: PlantQdisc, place: Beside) -> None:
        make = self._said(f"link add {place.device}", self._socket.link)
        make("add", ifname=place.device, kind="ifb")
        ours = self._index(place.device)
        quiet = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", 1)]})]}  # no address, so no packets
        make("set", index=ours, IFLA_AF_SPEC=quiet)
        make("set", index=ours, state="up")
        self._add_qdiscs(place.device, action, NLM_F_EXCL)
        if place.adds_clsact:
            self._said(f"qdisc replace {action.interface} clsact", self._socket.tc)(
                "replace", "clsact", self._index(action.interface)
            )
        for steer in action.steers:
            self._add_filter(action.interface, steer, ours)

    def _add_filter(self, interface: str, steer: Steer, device: int | None) -> None:
        message = _RawTc()
        message["index"], message["parent"] = self._index(interface), _HOOKS[steer.hook]
        message["info"] = steer.preference << 16 | socket.htons(_PROTOCOLS[steer.protocol])
        message["attrs"] = [("TCA_KIND", "u32"), ("TCA_OPTIONS", _u32.encode(steer, device or 0))]
        request = self._said(f"filter add {interface}", self._socket.nlm_request)
        request(message, RTM_NEWTFILTER, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)

    def _add_qdiscs(self, interface: str, action: PlantQdisc, flags: int) -> None:
        root, *below = action.qdiscs()
        self._add_qdisc(interface, root, flags)
        for qdisc in below:
            self._add_qdisc(interface, qdisc, NLM_F_EXCL)

    def _add_qdisc(self, interface: str, qdisc: Qdisc, flags: int) -> None:
        attributes = [("TCA_KIND", qdisc.kind), ("TCA_OPTIONS", _CODECS[qdisc.kind].encode(qdisc.options))]
        at = _class_number(qdisc.parent), _number(qdisc.handle)
        self._send("qdisc add", RTM_NEWQDISC, NLM_F_CREATE | flags, interface, attributes, at)

    def _said(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Have what the kernel refuses raise CommandFailed."""

        def called(*args: Any, **options: Any) -> Any:
            try:
                return call(*args, **options)
            except NetlinkError as error:
                raise CommandFailed(self._host, f"netlink: {what}", error.code, "", str(error)) from error

        return called

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
        qdiscs = self._qdiscs(index)
        parents = {parent for q in qdiscs if q.handle != NO_HANDLE for parent in _hooks(q)}
        found = [(parent, f) for parent in parents for f in self._socket.get_filters(index, parent=parent)]
        filters = {_filter(f) for _, f in found}
        classes = {_class(c) for c in self._socket.get_classes(index) if c.get_attr("TCA_KIND") not in _MADE_BY_TRAFFIC}
        names = {link["index"]: str(link.get_attr("IFLA_IFNAME")) for link in self._socket.get_links()}
        beside = re.compile(f"gameday{index:x}[tk][0-9a-f]+")
        return Link(
            interface,
            exists=True,
            qdiscs=qdiscs,
            filters=tuple(sorted(filters)),
            classes=tuple(sorted(classes)),
            ours={name: self._qdiscs(number) for number, name in names.items() if beside.fullmatch(name)},
            steers=tuple(steer for parent, f in found for steer in _steers(parent, f, names)),
            index=index,
        )

    def _qdiscs(self, index: int) -> tuple[Qdisc, ...]:
        return tuple(_qdisc(message) for message in self._socket.get_qdiscs(index))

    def _send(
        self,
        did: str,
        kind: int,
        flags: int,
        interface: str,
        attributes: Sequence[tuple[str, object]] = (),
        at: tuple[int, int] = (TC_H_ROOT, 0),
    ) -> None:
        """Send a message about a qdisc; `at` is its parent and its handle."""
        message = _RawTc()
        message["index"] = self._index(interface)
        message["parent"], message["handle"] = at
        message["attrs"] = attributes
        request = self._said(f"{did} {interface}", self._socket.nlm_request)
        request(message, kind, NLM_F_REQUEST | NLM_F_ACK | flags)

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


def _class_number(text: str) -> int:
    major, _, minor = text.partition(":")
    return TC_H_ROOT if text == ROOT else int(major, 16) << 16 | int(minor, 16)


def _hooks(qdisc: Qdisc) -> tuple[int, ...]:
    """Return where filters can hang on a qdisc."""
    return tuple(_HOOKS.values()) if qdisc.kind == "clsact" else (_number(qdisc.handle),)


def _qdisc(message: Any) -> Qdisc:
    kind, stats, raw = message.get_attr("TCA_KIND"), message.get_attr("TCA_STATS") or {}, _raw(message)
    return Qdisc(
        kind=kind,
        handle=f"{message['handle'] >> 16:x}:",
        parent=_parent(message["parent"]),
        options=_CODECS[kind].decode(raw) if kind in _CODECS else {"raw": raw.hex()},
        packets=stats.get("packets", 0) if stats else 0,
        dropped=stats.get("drop", 0) if stats else 0,
    )


def _steers(parent: int, message: Any, names: Mapping[int, str]) -> Iterator[Steer]:
    """Yield a filter of ours in a hook; the head of a table of filters is none."""
    preference, hooks = message["info"] >> 16, {number: name for name, number in _HOOKS.items()}
    raw = _raw(message)
    if preference in OUR_PREFERENCES and parent in hooks and _u32.is_filter(raw):
        keys, device = _u32.decode(raw)
        protocol = {number: name for name, number in _PROTOCOLS.items()}.get(socket.ntohs(message["info"] & 0xFFFF), "")
        yield Steer(hooks[parent], preference, protocol, keys, names.get(device, ""))


def _raw(message: Any) -> bytes:
    """Return a message's TCA_OPTIONS; htb's count of packets that no class took is a counter and is left out."""
    options = message.get_attr("TCA_OPTIONS")
    raw = bytes(options.data[options.offset + 4 : options.offset + options.length]) if hasattr(options, "data") else b""
    if message.get_attr("TCA_KIND") != "htb":
        return raw
    return b"".join(
        _nla.pack(number, payload[:16] if number == _HTB_INIT else payload) for number, payload in _nla.unpack(raw)
    )


def _class(message: Any) -> str:
    numbers = " ".join(f"{name} {message[name]:x}" for name in ("handle", "parent", "info"))
    return f"class {message.get_attr('TCA_KIND')} {numbers} {_raw(message).hex()}"


def _parent(number: int) -> str:
    if number == TC_H_ROOT:
        return ROOT
    major, minor = number >> 16, number & 0xFFFF
    return f"{major:x}:{minor:x}" if major else f":{minor:x}"


def _filter(message: Any) -> str:
    fields = " ".join(f"{name} {message[name]:x}" for name in ("parent", "handle", "info"))
    return f"filter pref {message['info'] >> 16} {message.get_attr('TCA_KIND')} {fields}"
