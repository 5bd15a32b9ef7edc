"""One streamed chat completion, event by event: when its tokens came, how many, and whether it came to an end.

The events are those of OpenAI's API, as vLLM, SGLang and DeepSeek speak it: a JSON object each, whose `choices` carry
pieces of the answer, and at last `[DONE]`. A piece counts from its first character, whether it is of the answer itself,
of the reasoning before it or of a tool call; a first event that only names the role is no token. Several tokens may
ride in one event: the number of tokens is what `usage` says, and only without it the number of such events.

A stream that says neither a finish reason nor `[DONE]` was cut off, whatever its framing says; one with an `error`
in an event has failed.
"""

from __future__ import annotations

import json
from typing import Any

from probes.sse import EventDecoder

_DONE = b"[DONE]"
_PIECES = ("content", "reasoning_content", "reasoning", "tool_calls", "text")


class Completion:
    """Takes the body of one answer, and has when each event with tokens was `received` (ns)."""

    __slots__ = ("_decoder", "_failed", "_finished", "_used", "received")

    def __init__(self) -> None:
        self._decoder = EventDecoder()
        self._finished = self._failed = False
        self._used: int | None = None
        self.received: list[int] = []

    def feed(self, body: bytes, now: int) -> None:
        """Take the next piece of the body, which came at `now`."""
        for data in self._decoder.feed(body):
            if data == _DONE:
                self._finished = True
            else:
                self._take(data, now)

    @property
    def tokens(self) -> int:
        """How many output tokens the answer had."""
        return len(self.received) if self._used is None else self._used

    @property
    def complete(self) -> bool:
        """Whether it came to an end by its own account."""
        return self._finished and not self._failed

    def _take(self, data: bytes, now: int) -> None:
        try:
            event = json.loads(data)
            if sum(map(self._take_choice, event.get("choices") or ())):
                self.received.append(now)
            self._take_rest(event)
        except (ValueError, AttributeError, TypeError):  # not JSON, or not of this form
            self._failed = True

    def _take_choice(self, choice: dict[str, Any]) -> bool:
        """Return whether a choice carries tokens."""
        if choice.get("finish_reason"):
            self._finished = True
        piece = choice.get("delta") or choice
        return any(piece.get(name) for name in _PIECES)

    def _take_rest(self, event: dict[str, Any]) -> None:
        if usage := event.get("usage"):
            self._used = int(usage["completion_tokens"]) if "completion_tokens" in usage else self._used
        if event.get("error"):
            self._failed = True
