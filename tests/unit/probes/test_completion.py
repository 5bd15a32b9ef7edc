"""What counts as a token, and what as an end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from probes.completion import Completion

DONE = b"data: [DONE]\n\n"


def event(*deltas: dict[str, Any], **beside: Any) -> bytes:
    choices = [{"index": index, "delta": delta, "finish_reason": None} for index, delta in enumerate(deltas)]
    return b"data: " + json.dumps({"choices": choices, **beside}).encode() + b"\n\n"


def finish(reason: str) -> bytes:
    return b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "%b"}]}\n\n' % reason.encode()


def watched(*pieces: bytes) -> Completion:
    completion = Completion()
    for now, piece in enumerate(pieces, start=1):
        completion.feed(piece, now)
    return completion


def test_the_first_token_is_the_first_that_is_not_empty() -> None:
    completion = watched(
        event({"role": "assistant"}), event({"content": ""}), event({"content": "Hi"}), event({"content": "!"}), DONE
    )
    assert completion.received == [3, 4]
    assert (completion.tokens, completion.complete) == (2, True)


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"content": None, "tool_calls": [{"index": 0, "function": {"name": "f"}}]},
    ],
)
def test_reasoning_and_tool_calls_are_tokens_too(delta: dict[str, Any]) -> None:
    assert watched(event(delta)).received == [1]


def test_the_older_completions_are_read_too() -> None:
    assert watched(b'data: {"choices": [{"text": "x", "finish_reason": "stop"}]}\n\n').received == [1]


def test_usage_knows_the_number_of_tokens_better() -> None:
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 7}}\n\n'
    completion = watched(event({"content": "several tokens at once"}), usage, DONE)
    assert (completion.tokens, completion.received) == (7, [1])


def test_two_choices_in_one_event_are_one_chunk() -> None:
    assert watched(event({"content": "a"}, {"content": "b"})).received == [1]


@pytest.mark.parametrize("end", [DONE, finish("stop"), finish("length")])
def test_either_end_will_do(end: bytes) -> None:
    assert watched(event({"content": "x"}), end).complete


@pytest.mark.parametrize(
    "pieces",
    [
        (event({"content": "x"}),),
        (),
        (event({"content": "x"}), b'data: {"error": {"message": "out of memory"}}\n\n', DONE),
        (b"data: not JSON\n\n", DONE),
        (b"data: [1, 2]\n\n", DONE),
        (b'data: {"choices": "none"}\n\n', DONE),
        (b'data: {"choices": [], "usage": {"completion_tokens": "many"}}\n\n', DONE),
    ],
)
def test_what_was_cut_off_or_failed_is_not_complete(pieces: tuple[bytes, ...]) -> None:
    assert not watched(*pieces).complete
