"""`gameday probe`: what it refuses, and a trace that it replays on a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chaos.cli.app import app
from chaos.errors import InputError
from tests.unit.probes import oracle_server
from tests.unit.probes.oracle_server import Oracle


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with oracle_server.running() as server:
        yield server


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--burstiness 2", "burstiness: burstiness belongs to process gamma; found process poisson"),
        ("--trace nowhere.csv", "trace: there is no file"),
        ("--trace x.csv --rate 5/s", "--rate: a trace is replayed as recorded"),
        ("--trace synthetic.csv --for 1h", "lasts 4 s, the load lasts 3601 s"),
        ("--arrivals trace", "process trace needs a file"),
        ("--rate 0/s", "rate: must be more than 0; found 0"),
        ("--for 0s", "--for: must be more than 0; found 0"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "synthetic.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n0,1,1\n4,1,1\n")
    result = CliRunner().invoke(app, ["probe", "http://127.0.0.1:1/", *given.split()])
    assert isinstance(result.exception, InputError)
    assert said in str(result.exception)
    assert not (tmp_path / "runs").exists()


def test_a_trace_is_replayed_with_its_numbers_in_the_bodies(oracle: Oracle, tmp_path: Path) -> None:
    rows = [f"{number / 40},{number},{1000 + number}" for number in range(100)]
    (tmp_path / "synthetic.csv").write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    options = {
        "--trace": str(tmp_path / "synthetic.csv"),
        "--for": "1s",
        "--body": '{"max_tokens": "{generated_tokens}"}',
    }
    flat = [part for option in options.items() for part in option]
    result = CliRunner().invoke(app, ["probe", oracle.url("/ok"), *flat, "--json", "--out", str(tmp_path)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in oracle.requests]
    assert sorted(body["max_tokens"] for body in bodies) == list(range(1000, 1080))  # 40/s in the warm-up and 1 s
