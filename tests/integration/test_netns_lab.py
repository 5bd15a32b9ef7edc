"""A whole experiment on hosts made of namespaces: a gateway and three workers, with no network between them and us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

EXPERIMENT = """
name: one engine paused
load:
  url: http://{gateway}/v1/chat/completions
  method: POST
  classes: [{name: hot, json: {model: deepseek, messages: [{role: user, content: hot}]}}]
  arrivals: {process: constant, rate: 60/s}
  slo: {latency: 1500ms}
  timeout: 3s
timeline: {warmup: 1s, baseline: 16s, observe: 30s}
faults:
  - {kind: process_pause, on: worker-2, for: 5s, match: '^\\S+ -S -m chaos.lab.appliance worker'}
budgets: {mttr: 20s, availability: 80%}
"""


@pytest.fixture
def netns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[lab.Lab]:
    monkeypatch.setenv("GAMEDAY_LAB_DIR", str(tmp_path / "lab"))
    yield lab.up("netns", owner_pid=os.getpid())
    lab.down()


def test_a_paused_engine_is_seen_judged_and_let_go(netns: lab.Lab, tmp_path: Path) -> None:
    (tmp_path / "pause.yaml").write_text(EXPERIMENT, encoding="utf-8")
    argv = [sys.executable, "-m", "chaos", "run", "pause.yaml", "-i", str(netns.inventory_path), "--json"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["verdict"]) == (0, "pass"), done.stdout + done.stderr
    assert verdict["faults"][0]["achieved"] == {"paused": 1.0}
    assert verdict["faults"][0]["reverted"]
    assert verdict["drift"] == []
    assert 0 < verdict["figures"]["time_to_recover_s"]["value"] < 20
    again = subprocess.run(
        [sys.executable, "-m", "chaos", "judge", verdict["run"], "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(again.stdout) == verdict
