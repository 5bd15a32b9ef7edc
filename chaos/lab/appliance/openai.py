"""The part of OpenAI's chat-completions API that the worker speaks: requests in, answers and stream events out.

Pure. The text is made up; what is real is its length in tokens, and when each token comes. A prompt's length is
estimated at four characters a token (OpenAI's rule of thumb for English) and four tokens of frame a message.
"""

from __future__ import annotations

import json
from typing import Any

from chaos.errors import InputError

_WORDS = (
    " the",
    " lab",
    " answers",
    " with",
    " tokens",
    " that",
    " mean",
    " nothing",
    " but",
    " take",
    " their",
    " time",
)


class ChatRequest:
    """What a request asks for. `max_tokens` is None when it does not say."""

    __slots__ = ("include_usage", "max_tokens", "model", "prompt_tokens", "stream")

    def __init__(self, body: bytes) -> None:
        """Parse the body; InputError says what is wrong with it."""
        asked = _object(body)
        self.prompt_tokens = _prompt_tokens(asked.get("messages"))
        self.max_tokens = _max_tokens(asked)
        self.model = str(asked.get("model", "unknown"))
        self.stream = asked.get("stream") is True
        options = asked.get("stream_options")
        self.include_usage = isinstance(options, dict) and options.get("include_usage") is True


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is no JSON: {error}") from None
    if not isinstance(asked, dict):
        raise InputError(f"the body is a JSON object; found {type(asked).__name__}")
    return asked


def _prompt_tokens(messages: object) -> int:
    if not isinstance(messages, list) or not messages:
        raise InputError("messages: a list of at least one message is needed")
    return sum(4 + len(_text(message)) // 4 for message in messages)


def _text(message: object) -> str:
    if not isinstance(message, dict):
        raise InputError(f"messages: each is an object with role and content; found {type(message).__name__}")
    content = message.get("content", "")
    return content if isinstance(content, str) else json.dumps(content)


def _max_tokens(asked: dict[str, Any]) -> int | None:
    value = asked.get("max_completion_tokens", asked.get("max_tokens"))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"max_tokens: asked {value!r}, allowed: a whole number from 1")
    return value


def token(index: int) -> str:
    """Return the text of output token `index`."""
    return _WORDS[index % len(_WORDS)]


def completion(number: str, created: int, request: ChatRequest, generated: int) -> bytes:
    """Render a plain answer."""
    message = {"role": "assistant", "content": "".join(map(token, range(generated))).lstrip()}
    answer = _envelope("chat.completion", number, created, request)
    answer["choices"] = [{"index": 0, "message": message, "finish_reason": "length"}]
    answer["usage"] = _usage(request, generated)
    return _dump(answer)


def token_event(number: str, created: int, request: ChatRequest, index: int, last: bool) -> bytes:
    """Render output token `index` as a server-sent event; the last one carries the reason to finish."""
    delta = {"content": token(index)} if index else {"role": "assistant", "content": token(index).lstrip()}
    chunk = _envelope("chat.completion.chunk", number, created, request)
    chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": "length" if last else None}]
    return b"data: " + _dump(chunk) + b"\n\n"


def closing_events(number: str, created: int, request: ChatRequest, generated: int) -> bytes:
    """Render what ends a stream: the usage, where `stream_options.include_usage` asked for it, and `[DONE]`."""
    if not request.include_usage:
        return b"data: [DONE]\n\n"
    chunk = _envelope("chat.completion.chunk", number, created, request)
    chunk["choices"] = []
    chunk["usage"] = _usage(request, generated)
    return b"data: " + _dump(chunk) + b"\n\ndata: [DONE]\n\n"


def error(status: int, message: str) -> bytes:
    """Render an error as OpenAI does."""
    kind = (
        "invalid_request_error" if status < 500 and status != 429 else "rate_limit" if status == 429 else "server_error"
    )
    return _dump({"error": {"message": message, "type": kind, "code": status}})


def _envelope(kind: str, number: str, created: int, request: ChatRequest) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": created, "model": request.model}


def _usage(request: ChatRequest, generated: int) -> dict[str, int]:
    prompt = request.prompt_tokens
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


_dump_text = json.JSONEncoder(separators=(",", ":")).encode


def _dump(value: dict[str, Any]) -> bytes:
    return _dump_text(value).encode()
