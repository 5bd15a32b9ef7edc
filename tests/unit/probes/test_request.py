"""Requests as bytes."""

from __future__ import annotations

from typing import Any

from probes.plan import LoadPlan, RequestClass
from probes.request import encoder


def encoded(body: str | None, *numbers: int, **changes: Any) -> list[bytes]:
    kind = RequestClass(name="only", body=body)
    given: dict[str, Any] = {"url": "http://h:8/p", "rate": 1, "duration": 1, "start": 0, "samples": "s", "live": "l"}
    encode = encoder(LoadPlan(**given | {"method": "POST"} | changes, classes=(kind,)), kind)
    return [encode(number) for number in numbers]


HEAD = b"POST /p HTTP/1.1\r\nHost: h:8\r\nAccept: */*\r\nUser-Agent: gameday-probes\r\n"


def test_a_body_without_placeholders_is_encoded_once() -> None:
    first, second = encoded('{"a": {"b": "ü"}}', 1, 2)
    assert first is second
    assert first == HEAD + b'Content-Length: 18\r\n\r\n{"a": {"b": "\xc3\xbc"}}'


def test_seq_is_the_number_and_the_length_follows_it() -> None:
    assert encoded('{"s": "{seq}", "t": {{seq}}}', 7, 1234) == [
        HEAD + b'Content-Length: 20\r\n\r\n{"s": "7", "t": {7}}',
        HEAD + b'Content-Length: 26\r\n\r\n{"s": "1234", "t": {1234}}',
    ]


def test_rand_differs_by_number_and_by_seed_and_repeats_with_them() -> None:
    one, two = encoded("{rand}", 1, 2, seed=5)
    assert one != two
    assert len(one.partition(b"\r\n\r\n")[2]) == 16
    assert encoded("{rand}", 1, seed=5) == [one]
    assert encoded("{rand}", 1, seed=6) != [one]


def test_a_request_without_a_body_says_so_where_one_is_expected() -> None:
    assert encoded(None, 0) == [HEAD + b"Content-Length: 0\r\n\r\n"]
    assert encoded(None, 0, method="GET") == [HEAD.replace(b"POST", b"GET") + b"\r\n"]


def test_headers_of_the_plan_win_over_the_defaults() -> None:
    (request,) = encoded(None, 0, headers={"host": "other", "Accept": "text/plain"})
    assert request.count(b"ost: ") == 1
    assert b"host: other\r\n" in request
    assert b"Accept: text/plain\r\n" in request
