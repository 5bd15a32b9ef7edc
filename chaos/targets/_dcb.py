"""Data centre bridging by netlink: the kernel's structures (linux/dcbnl.h) and its messages, RTM_GETDCB and RTM_SETDCB.

pyroute2 has none of it, and there is little: a header, the interface's name, and below DCB_ATTR_IEEE one structure for
each part. A part is set as dcb(8) does it: the structure is read, changed, and sent whole. The kernel acknowledges the
message and says in an attribute of its answer, as an errno, what the driver said.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from chaos.contracts import SetDcb
from chaos.kernel import Dcb, Ets, Pfc
from chaos.targets import _nla

GET, SET = 78, 79  # RTM_GETDCB and RTM_SETDCB, linux/rtnetlink.h
IEEE_SET, IEEE_GET = 20, 21  # enum dcbnl_commands
IFNAME, IEEE, DCBX = 1, 13, 14  # enum dcbnl_attrs
ETS, PFC, BUFFER = 1, 2, 10  # enum ieee_attrs
NESTED = 0x8000
TSA = {0: "strict", 1: "cbs", 2: "ets", 255: "vendor"}
DCBX_BITS = {0x01: "host", 0x02: "lld-managed", 0x04: "cee", 0x08: "ieee", 0x10: "static"}

_PFC = struct.Struct("=BBBxH2x8Q8Q")  # struct ieee_pfc
_ETS = struct.Struct("=BBB8s8s8s8s8s8s8s")  # struct ieee_ets
_BUFFER = struct.Struct("=8B8I")  # struct dcbnl_buffer, without the total
_HEAD = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST_ACK = 0x0005  # NLM_F_REQUEST | NLM_F_ACK
_ERROR = 2  # NLMSG_ERROR; of 0 where all went well


def read(interface: str) -> Dcb:
    """Return an interface's data centre bridging, in the network namespace of this thread."""
    try:
        return decode(_ask(interface))
    except OSError as error:
        return Dcb(why_not=error.strerror or str(error))


def put(action: SetDcb) -> None:
    """Set a part of it, also where it is so already: a driver may say otherwise than it does. Raises OSError."""
    number = ETS if isinstance(action.wanted, Ets) else PFC
    former = dict(_nla.unpack(dict(_nla.unpack(_ask(action.interface))).get(IEEE, b""))).get(number)
    if former is None:
        raise OSError(95, os.strerror(95))  # EOPNOTSUPP
    answer = dict(_nla.unpack(_exchange(setting(action.interface, number, changed(former, action.wanted)))))
    if failed := answer.get(IEEE, b"\0")[0]:
        raise OSError(256 - failed, os.strerror(256 - failed))


# --- structures -------------------------------------------------------------------------------------------------------


def changed(former: bytes, wanted: Pfc | Ets) -> bytes:
    """Return a structure with what is wanted in it, and the rest as it was."""
    if isinstance(wanted, Pfc):
        capable, _, *rest = _PFC.unpack(former)
        return _PFC.pack(capable, sum(1 << priority for priority in wanted.priorities), *rest)
    willing, capable, cbs, _, pg_bw, _, _, *recommended = _ETS.unpack(former)
    numbers = {name: number for number, name in TSA.items()}
    tsa = bytes(numbers[name] for name in wanted.tc_tsa)
    return _ETS.pack(willing, capable, cbs, bytes(wanted.tc_bw), pg_bw, tsa, bytes(wanted.prio_tc), *recommended)


def decode(attributes: bytes) -> Dcb:
    """Return what the attributes of an answer to DCB_CMD_IEEE_GET say."""
    top = dict(_nla.unpack(attributes))
    parts = dict(_nla.unpack(top.get(IEEE, b"")))
    return Dcb(
        pfc=_pfc(parts[PFC]) if PFC in parts else None,
        ets=_ets(parts[ETS]) if ETS in parts else None,
        dcbx=frozenset(name for bit, name in DCBX_BITS.items() if top[DCBX][0] & bit) if DCBX in top else None,
        buffer=_BUFFER.unpack_from(parts[BUFFER]) if BUFFER in parts else (),
        why_not="" if PFC in parts and ETS in parts else os.strerror(95),
    )


def _pfc(raw: bytes) -> Pfc:
    capable, enabled, bypass, delay, *counted = _PFC.unpack_from(raw)
    priorities = frozenset(priority for priority in range(8) if enabled >> priority & 1)
    return Pfc(priorities, capable, delay, bool(bypass), tuple(counted[:8]), tuple(counted[8:]))


def _ets(raw: bytes) -> Ets:
    willing, capable, cbs, tc_bw, pg_bw, tsa, prio_tc, reco_bw, reco_tsa, reco_prio_tc = _ETS.unpack_from(raw)
    rest = {"willing": (willing,), "cbs": (cbs,), "pg_bw": tuple(pg_bw), "reco_tc_bw": tuple(reco_bw)}
    rest |= {"reco_tc_tsa": tuple(reco_tsa), "reco_prio_tc": tuple(reco_prio_tc)}
    return Ets(tuple(TSA.get(number, str(number)) for number in tsa), tuple(tc_bw), tuple(prio_tc), capable, rest)


# --- messages ---------------------------------------------------------------------------------------------------------


def asking(interface: str) -> bytes:
    """Return the message that asks for all of it."""
    return _message(GET, IEEE_GET, interface)


def setting(interface: str, number: int, structure: bytes) -> bytes:
    """Return the message that sets one part, as a structure of the kernel's."""
    return _message(SET, IEEE_SET, interface, _nla.pack(IEEE | NESTED, _nla.pack(number, structure)))


def _message(kind: int, command: int, interface: str, attributes: bytes = b"") -> bytes:
    body = struct.pack("=BBH", 0, command, 0) + _nla.pack(IFNAME, interface.encode() + b"\0") + attributes
    return _HEAD.pack(_HEAD.size + len(body), kind, _REQUEST_ACK, 1, 0) + body


def _ask(interface: str) -> bytes:
    return _exchange(asking(interface))


def _exchange(message: bytes) -> bytes:
    """Send a message and return the attributes of the answer. Raises OSError for what the kernel refuses."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(10)
        kernel.send(message)
        answer = b""
        while True:
            for kind, body in _messages(kernel.recv(1 << 16)):
                if kind != _ERROR:
                    answer = body[4:]
                elif code := -struct.unpack_from("=i", body)[0]:
                    raise OSError(code, os.strerror(code))
                else:
                    return answer


def _messages(received: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEAD.size <= len(received):
        length, kind, *_ = _HEAD.unpack_from(received, at)
        yield kind, received[at + _HEAD.size : at + length]
        at += max(_HEAD.size, (length + 3) & ~3)
