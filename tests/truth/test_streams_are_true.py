"""Streamed chat completions, held against a server that journals when it sent each piece of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.truth.measuring import Measured, Scenario
from tests.truth.script import Script

REQUESTS = 40


def event(content: str | None = None, finish: str | None = None, **others: object) -> str:
    """Return one event; its text is UTF-8, given byte for byte as latin-1."""
    delta = {"role": "assistant"} if content is None else {"content": content}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    data = json.dumps({"object": "chat.completion.chunk", "choices": choices} | others, ensure_ascii=False)
    return f"data: {data}\n\n".encode().decode("latin-1")


ROLE, KEEP_ALIVE, DONE = event(), ": keep-alive\n\n", "data: [DONE]\n\n"
USAGE = event("", "stop", usage={"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12})
SPLIT = event("€")
AT = SPLIT.index("â") + 1  # after the first of the three bytes of the character
CARRIAGE = event("d").replace("\n", "\r\n")

STREAMS: dict[str, tuple[Sequence[tuple[float, str]], list[int], int]] = {
    "plain": ([(0.02, event("a")), (0.03, event("b")), (0.01, event("c", "stop")), (0, DONE)], [0, 1, 2], 3),
    "role, empty and keep-alive": (
        [
            (0.01, ROLE),
            (0.01, event("")),
            (0.01, KEEP_ALIVE),
            (0.03, event("a")),
            (0.02, event("b", "stop")),
            (0, DONE),
        ],
        [3, 4],
        2,
    ),
    "usage": ([(0.02, event("a b c")), (0.03, event("d e f g")), (0.01, USAGE), (0, DONE)], [0, 1], 9),
    "split": (
        [
            (0.02, SPLIT[:AT]),
            (0.02, SPLIT[AT:]),
            (0.02, CARRIAGE[:-3]),
            (0.02, CARRIAGE[-3:]),
            (0, event("", "stop") + DONE),
        ],
        [1, 3],
        2,
    ),
    "without [DONE]": ([(0.02, event("a")), (0.02, event("b", "stop"))], [0, 1], 2),
}
"""Pieces; which of them complete an event with tokens; how many tokens there are."""


def scenarios(start: int, folder: Path) -> dict[str, Scenario]:
    load = {"rate": 20.0, "duration": REQUESTS / 20, "stream": True}
    return {
        name: Scenario(
            Script(start=start, fates=["/stream"], pieces=pieces), load | {"chunks": str(folder / f"{start}-{index}")}
        )
        for index, (name, (pieces, _, _)) in enumerate(STREAMS.items())
    }


@pytest.mark.parametrize("name", STREAMS)
def test_tokens_and_their_times(measured: dict[str, Measured], name: str) -> None:
    _, carrying, tokens = STREAMS[name]
    found = measured[name]
    rows = found.rows
    assert found.errors == ["ok"] * REQUESTS
    assert set(rows["tokens"].tolist()) == {tokens}
    assert set(rows["chunks"].tolist()) == {len(carrying)}
    sent = np.array([[found.journal[seq].pieces[piece] for piece in carrying] for seq in range(REQUESTS)])
    behind = (rows["first_token"] - sent[:, 0]) / 1e9
    assert (behind > 0).all()
    assert np.median(behind) == pytest.approx(0, abs=0.001)
    received = np.fromfile(str(found.outcome.plan.chunks), np.int64, offset=4096)
    assert len(received) == REQUESTS * len(carrying)
    in_order = found.outcome.rows["scheduled"].argsort().argsort()  # row k of the file is this request
    behind_each = received.reshape(REQUESTS, -1) - sent[in_order]
    assert (behind_each > 0).all()
    assert np.median(behind_each) < 1e6
