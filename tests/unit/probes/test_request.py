"""Requests as bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from probes.plan import LoadPlan, RequestClass
from probes.request import encoder


def encoded(body: str | None, *numbers: int, kind: RequestClass | None = None, **changes: Any) -> list[bytes]:
    kind = kind or RequestClass(name="only", body=body)
    base: dict[str, Any] = {"url": "http://h:8/p", "rate": 1, "duration": 1, "start": 0, "samples": "s", "live": "l"}
    encode = encoder(LoadPlan(**base | {"method": "POST"} | changes, classes=(kind,)), kind)
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


PROMPTS = ['say "hi"\\', "zwölf", "{seq} stays"]


def bodies(folder: Path, body: str, *numbers: int, is_json: bool, **changes: Any) -> list[str]:
    """Return the bodies of some arrivals, with the prompts above and a trace of a row a second."""
    (folder / "prompts.txt").write_text("\n".join([*PROMPTS, "", " "]), encoding="utf-8")
    rows = ["TIMESTAMP,ContextTokens,GeneratedTokens", "0,5,50", "1,3,30", "2,0,10", "3,40000,1", "4,1,1"]
    (folder / "synthetic.csv").write_text("\n".join(rows))
    given = {"process": "trace", "rate": None, "trace": str(folder / "synthetic.csv"), "duration": 4}
    prompts = str(folder / "prompts.txt")
    kind = RequestClass(name="only", body=body, is_json=is_json, prompts=prompts)
    sent = encoded(body, *numbers, kind=kind, **given | changes)
    for request in sent:
        head, _, content = request.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(content) in head
    return [request.partition(b"\r\n\r\n")[2].decode() for request in sent]


def test_prompts_are_shuffled_taken_in_turn_and_stand_as_they_are(tmp_path: Path) -> None:
    found = bodies(tmp_path, "<{prompt}>", *range(6), is_json=False)
    assert sorted(found[:3]) == sorted(f"<{prompt}>" for prompt in PROMPTS)
    assert found[3:] == found[:3]
    orders = {tuple(bodies(tmp_path, "{prompt}", 0, 1, 2, is_json=False, seed=seed)) for seed in range(12)}
    assert len(orders) > 1


@given(prompt=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), min_size=1))
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_prompt_comes_back_out_of_a_json_body(tmp_path: Path, prompt: str) -> None:
    assume(prompt.strip() and not prompt.startswith("\ufeff"))
    (tmp_path / "one.txt").write_bytes(prompt.encode())
    kind = RequestClass(name="a", body='{"p": "x {prompt}"}', is_json=True, prompts=str(tmp_path / "one.txt"))
    (request,) = encoded(None, 0, kind=kind)
    assert json.loads(request.partition(b"\r\n\r\n")[2]) == {"p": f"x {prompt}"}


def test_a_json_string_of_a_number_alone_becomes_the_number(tmp_path: Path) -> None:
    asked = {"max_tokens": "{generated_tokens}", "n": ["{context_tokens}"], "text": "{generated_tokens} tokens"}
    asked |= {"{context_tokens}": "key", "quoted": 'say "{generated_tokens}"', "after": '"{generated_tokens}'}
    (found,) = bodies(tmp_path, json.dumps(asked), 1, is_json=True)
    assert json.loads(found) == {
        "max_tokens": 30,
        "n": [3],
        "text": "30 tokens",
        "3": "key",
        "quoted": 'say "30"',
        "after": '"30',
    }
    assert bodies(tmp_path, '"{generated_tokens}"', 1, is_json=False) == ['"30"']


def test_token_counts_are_those_of_the_arrival_whatever_the_order(tmp_path: Path) -> None:
    asked = "{context_tokens}/{generated_tokens}"
    assert bodies(tmp_path, asked, 2, 0, 1, is_json=False) == ["0/10", "5/50", "3/30"]


def test_a_context_has_as_many_words_and_is_not_the_same_twice(tmp_path: Path) -> None:
    found = bodies(tmp_path, "{context}", 0, 1, 2, is_json=False)
    assert [len(text.split()) for text in found] == [5, 3, 0]
    assert not found[0].startswith(found[1])
    (long,) = bodies(tmp_path, "{context}", 3, is_json=False)
    assert len(long.split()) == 40_000  # longer than the text it is made of
