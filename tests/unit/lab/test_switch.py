"""The switch's learning, and a port that outlives the host behind it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from chaos.lab.switch import QUEUE, Learning, Port

A, B, BROADCAST = b"\x02AAAAA", b"\x02BBBBB", b"\xff" * 6


def frame(to: bytes, sender: bytes) -> bytes:
    return to + sender + b"\x08\x00payload"


def host(name: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    made.bind(name)
    return made


def test_an_unknown_destination_goes_to_every_other_port() -> None:
    assert Learning(4).route(1, frame(B, A)) == [0, 2, 3]


def test_a_destination_that_has_sent_is_known() -> None:
    learning = Learning(4)
    learning.route(3, frame(BROADCAST, B))
    assert learning.route(1, frame(B, A)) == [3]


def test_a_host_that_moved_is_found_at_its_new_port() -> None:
    learning = Learning(4)
    learning.route(3, frame(BROADCAST, B))
    learning.route(2, frame(BROADCAST, B))
    assert learning.route(1, frame(B, A)) == [2]


def test_a_frame_for_its_own_port_is_not_sent_back() -> None:
    learning = Learning(3)
    learning.route(1, frame(BROADCAST, B))
    assert learning.route(1, frame(B, A)) == []


def test_a_group_address_is_never_learnt_as_a_sender() -> None:
    learning = Learning(3)
    learning.route(1, frame(A, BROADCAST))
    assert learning.route(0, frame(BROADCAST, A)) == [1, 2]


def test_a_port_serves_the_host_that_came_in_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    port = Port("a")
    first = host("a.host")
    assert not port.send(b"one")
    assert first.recv(100) == b"one"
    first.close()
    assert not port.send(b"lost: nobody is there")
    Path("a.host").unlink()
    with host("a.host") as second:
        assert not port.send(b"two")
        assert second.recv(100) == b"two"
    port.incoming.close()
    port.outgoing.close()


def test_a_full_host_makes_frames_wait_and_a_full_queue_drops_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    port = Port("a")
    with host("a.host") as full:
        for number in range(QUEUE * 3):
            port.send(str(number).encode())
        assert len(port.queue) == QUEUE
        received = [full.recv(100)]
        while port.queue:
            port.flush()
            received.append(full.recv(100))
        assert received == [str(number).encode() for number in range(len(received))]
    port.incoming.close()
    port.outgoing.close()
