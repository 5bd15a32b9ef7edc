"""The appliance as real processes on loopback: what a client sees, and what is left when parts die."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.unit.appliance.appliance_processes import (
    APPLIANCE,
    CHAT,
    ask,
    chat,
    child_of,
    free_port,
    gone,
    healthz,
    kill,
    metrics,
    running,
    total,
    wait_until,
)

QUICK = ["--health-interval", "0.1", "--health-timeout", "0.2", "--ejection-time", "0.2", "--upstream-timeout", "0.5"]
INPUT_WRONG = 2


@dataclass(frozen=True)
class Lab:
    gateway: int
    workers: dict[str, int]
    supervisors: dict[str, subprocess.Popen[bytes]]
    """By the name of what they supervise."""

    def states(self) -> dict[str, str]:
        _, body = healthz(self.gateway)
        return dict(body["workers"]) if body else {}

    def wait_healthy(self) -> None:
        wait_until(lambda: self.states() == dict.fromkeys(self.workers, "healthy"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A gateway on an inherited socket and two workers, all supervised."""
    workers = {name: free_port() for name in ("worker-1", "worker-2")}
    with socket.create_server(("127.0.0.1", 0)) as listener, supervised(workers) as supervisors:
        gateway = ["supervise", "--", *APPLIANCE, "gateway", "--listen", f"fd:{listener.fileno()}", *QUICK]
        for name, port in workers.items():
            gateway += ["--worker", f"{name}=http://127.0.0.1:{port}"]
        with running(*gateway, pass_fds=[listener.fileno()]) as supervisor:
            found = Lab(listener.getsockname()[1], workers, {**supervisors, "gateway": supervisor})
            found.wait_healthy()
            yield found


@contextmanager
def supervised(workers: dict[str, int]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    names = list(workers)
    with running(*worker_argv(names[0], workers)) as first, running(*worker_argv(names[1], workers)) as second:
        yield {names[0]: first, names[1]: second}


def worker_argv(name: str, workers: dict[str, int]) -> list[str]:
    worker = [*APPLIANCE, "worker", "--name", name, "--listen", f"127.0.0.1:{workers[name]}", "--startup", "0.5"]
    return ["supervise", "--", *worker]


def test_a_plain_answer_says_what_it_used_and_who_gave_it(lab: Lab) -> None:
    status, headers, body = chat(lab.gateway, max_tokens=6)
    answer = json.loads(body)
    assert (status, answer["object"], answer["model"]) == (200, "chat.completion", "deepseek")
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    assert len(answer["choices"][0]["message"]["content"].split()) == 6
    assert headers["x-worker"] in lab.workers


def test_round_robin_reaches_both_alike(lab: Lab) -> None:
    lab.wait_healthy()
    assert set(Counter(chat(lab.gateway)[1]["x-worker"] for _ in range(10)).values()) == {5}


def test_tokens_are_streamed_as_they_come(lab: Lab) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", lab.gateway, timeout=10)
    asked = {**CHAT, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 20}
    connection.request("POST", "/v1/chat/completions", json.dumps(asked))
    answer = connection.getresponse()
    assert answer.headers["content-type"] == "text/event-stream"
    first = answer.readline()
    began = time.monotonic()
    events = [line[6:] for line in [first, *answer.read().splitlines()] if line.startswith(b"data: ")]
    waited = time.monotonic() - began
    connection.close()
    chunks = [json.loads(event) for event in events[:-1]]
    assert events[-1] == b"[DONE]"
    assert [len(chunk["choices"]) for chunk in chunks] == [1] * 20 + [0]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[18:20]] == [None, "length"]
    assert chunks[-1]["usage"]["completion_tokens"] == 20
    # Nineteen more steps of at least 5 ms came after the first event, which therefore did not wait for them.
    assert waited > 0.05


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "a JSON object; found list"),
        ({"messages": []}, "messages: a list"),
        ({"messages": ["hi"]}, "messages: each is an object"),
        ({**CHAT, "max_tokens": 0}, "max_tokens: asked 0"),
        ({**CHAT, "max_tokens": 10**6}, "allowed: 16384"),
    ],
)
def test_a_wrong_request_is_told_why(lab: Lab, body: object, says: str) -> None:
    status, _, answer = ask(lab.gateway, "POST", "/v1/chat/completions", body)
    assert status == 400
    assert says in json.loads(answer)["error"]["message"]


def test_other_paths_and_methods_are_told_what_there_is(lab: Lab) -> None:
    assert ask(lab.gateway, "GET", "/v2")[0] == 404
    status, headers, _ = ask(lab.gateway, "GET", "/v1/chat/completions")
    assert (status, headers["allow"]) == (405, "POST")


def test_a_setting_changes_at_run_time_and_a_wrong_one_does_not(lab: Lab) -> None:
    port = lab.workers["worker-1"]
    status, _, body = ask(port, "PATCH", "/admin/settings", {"max_batch": 5000})
    assert status == 400
    assert "asked 5000, allowed: a whole number from 1 to 4096" in json.loads(body)["error"]["message"]
    assert json.loads(ask(port, "GET", "/admin/settings")[2])["max_batch"]["value"] == 32
    assert ask(port, "PATCH", "/admin/settings", {"step_base": 0.1})[0] == 200
    began = time.monotonic()
    chat(port, max_tokens=4)
    assert time.monotonic() - began >= 0.4
    ask(port, "PUT", "/admin/settings", {"step_base": 0.005})


def test_the_metrics_of_both_parts_can_be_read_and_add_up(lab: Lab) -> None:
    port = lab.workers["worker-2"]
    before = metrics(port)
    chat(port, max_tokens=3)
    after = metrics(port)

    def grew(name: str, *labels: str) -> float:
        return total(after, name, *labels) - total(before, name, *labels)

    assert grew("vllm:request_success_total", 'finished_reason="length"') == 1
    assert grew("vllm:generation_tokens_total") == 3
    assert grew("vllm:prompt_tokens_total") == 5
    for name in ("vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds"):
        assert grew(f"{name}_count") == grew(f"{name}_bucket", 'le="+Inf"') == 1
    assert total(after, "vllm:num_requests_running") == total(after, "vllm:kv_cache_usage_perc") == 0
    assert total(metrics(lab.gateway), "gateway_upstream_healthy") == 2


def test_a_client_that_leaves_takes_its_request_with_it(lab: Lab) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", lab.gateway, timeout=10)
    connection.request("POST", "/v1/chat/completions", json.dumps({**CHAT, "stream": True, "max_tokens": 4000}))
    answer = connection.getresponse()
    answer.readline()

    def in_hand() -> float:
        return sum(total(metrics(port), "vllm:num_requests_running") for port in lab.workers.values())

    assert in_hand() == 1
    answer.close()
    connection.close()
    wait_until(lambda: in_hand() == 0)
    assert total(metrics(lab.gateway), "gateway_requests_in_progress") == 0
    assert total(metrics(lab.gateway), "gateway_requests_total", 'code="499"') >= 1


def test_a_killed_worker_is_ejected_started_again_and_readmitted(lab: Lab) -> None:
    lab.wait_healthy()
    supervisor = lab.supervisors["worker-1"].pid
    victim = child_of(supervisor)
    kill(victim)
    wait_until(lambda: lab.states().get("worker-1") == "ejected")
    assert {chat(lab.gateway)[0] for _ in range(10)} == {200}
    wait_until(lambda: child_of(supervisor) not in (0, victim))
    wait_until(lambda: healthz(lab.workers["worker-1"])[0] == 503)
    assert chat(lab.workers["worker-1"])[0] == 503
    lab.wait_healthy()
    assert "worker-1" in {chat(lab.gateway)[1]["x-worker"] for _ in range(4)}


def test_a_request_whose_worker_refuses_the_connection_is_tried_on_another(lab: Lab) -> None:
    lab.wait_healthy()
    change = {"health_interval": 60.0, "passive_fall": 1000}
    ask(lab.gateway, "PATCH", "/admin/settings", change)
    time.sleep(0.3)  # until the checks that the change began are over
    os.kill(lab.supervisors["worker-2"].pid, signal.SIGSTOP)
    try:
        kill(child_of(lab.supervisors["worker-2"].pid))
        time.sleep(0.1)
        before = total(metrics(lab.gateway), "gateway_retries_total")
        assert Counter(chat(lab.gateway)[0] for _ in range(10)) == {200: 10}
        assert total(metrics(lab.gateway), "gateway_retries_total") - before >= 5
        assert lab.states()["worker-2"] == "healthy"
    finally:
        os.kill(lab.supervisors["worker-2"].pid, signal.SIGCONT)
        ask(lab.gateway, "PATCH", "/admin/settings", {"health_interval": 0.1, "passive_fall": 3})


def test_a_worker_that_falls_silent_costs_504_and_then_nothing(lab: Lab) -> None:
    wait_until(lambda: healthz(lab.workers["worker-2"])[0] == 200)
    with own_gateway(lab, "--upstream-timeout", "0.5") as gateway:
        silent = child_of(lab.supervisors["worker-2"].pid)
        os.kill(silent, signal.SIGSTOP)
        try:
            assert Counter(chat(gateway)[0] for _ in range(2)) == {200: 1, 504: 1}
            wait_until(lambda: healthz(gateway)[1]["workers"]["worker-2"] == "ejected")
            assert Counter(chat(gateway)[0] for _ in range(4)) == {200: 4}
        finally:
            os.kill(silent, signal.SIGCONT)


@contextmanager
def own_gateway(lab: Lab, *options: str) -> Iterator[int]:
    """A second gateway before the same workers, ready."""
    port = free_port()
    workers = [f"--worker={name}=http://127.0.0.1:{at}" for name, at in lab.workers.items()]
    with running("gateway", "--listen", f"127.0.0.1:{port}", *workers, *QUICK, *options):
        wait_until(lambda: (healthz(port)[1] or {}).get("workers") == dict.fromkeys(lab.workers, "healthy"))
        yield port


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(lab: Lab) -> None:
    lab.wait_healthy()
    connection = http.client.HTTPConnection("127.0.0.1", lab.gateway, timeout=10)
    connection.request("POST", "/v1/chat/completions", json.dumps({**CHAT, "stream": True, "max_tokens": 4000}))
    answer = connection.getresponse()
    answer.readline()
    kill(child_of(lab.supervisors[answer.headers["x-worker"]].pid))
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        answer.read()
    answer.close()
    connection.close()
    lab.wait_healthy()


def test_a_killed_gateway_comes_back_on_the_socket_it_inherited(lab: Lab) -> None:
    supervisor = lab.supervisors["gateway"].pid
    victim = child_of(supervisor)
    kill(victim)
    wait_until(lambda: child_of(supervisor) not in (0, victim))
    lab.wait_healthy()
    assert chat(lab.gateway)[0] == 200


def test_admission_limits_refuse_with_429_and_503(lab: Lab) -> None:
    lab.wait_healthy()
    with own_gateway(lab, "--token-rate", "0.1", "--token-burst", "2") as gateway:
        assert [chat(gateway)[0] for _ in range(3)] == [200, 200, 429]
        assert int(chat(gateway)[1]["retry-after"]) == 10
        ask(gateway, "PATCH", "/admin/settings", {"token_rate": 0.0, "max_inflight": 1, "upstream_timeout": 5.0})
        held = threading.Thread(target=chat, args=(gateway,), kwargs={"max_tokens": 100})
        held.start()
        wait_until(lambda: total(metrics(gateway), "gateway_requests_in_progress") == 1)
        assert chat(gateway)[0] == 503
        held.join()
        assert chat(gateway)[0] == 200
        assert total(metrics(gateway), "gateway_requests_rejected_total", 'reason="overloaded"') == 1


def test_a_full_queue_of_a_worker_refuses_with_503(lab: Lab) -> None:
    port = lab.workers["worker-1"]
    ask(port, "PATCH", "/admin/settings", {"max_batch": 1, "max_waiting": 1})
    held = [threading.Thread(target=chat, args=(port,), kwargs={"max_tokens": 60}) for _ in range(2)]
    for number, thread in enumerate(held):
        thread.start()
        wait_until(lambda number=number: waiting_or_running(port) == number + 1)  # type: ignore[misc]
        wait_until(lambda: total(metrics(port), "vllm:num_requests_running") == 1)
    status, headers, _ = chat(port)
    assert (status, "retry-after" in headers) == (503, True)
    for thread in held:
        thread.join()
    ask(port, "PATCH", "/admin/settings", {"max_batch": 32, "max_waiting": 512})


def waiting_or_running(port: int) -> float:
    found = metrics(port)
    return total(found, "vllm:num_requests_running") + total(found, "vllm:num_requests_waiting")


def test_without_a_worker_there_is_503() -> None:
    port = free_port()
    with running("gateway", "--listen", f"127.0.0.1:{port}", "--worker", f"w=http://127.0.0.1:{free_port()}", *QUICK):
        wait_until(lambda: healthz(port)[0] == 503)
        status, headers, _ = chat(port)
        assert (status, headers["retry-after"]) == (503, "1")


def test_sigterm_lets_a_request_end_and_takes_no_more() -> None:
    port = free_port()
    with running("worker", "--listen", f"127.0.0.1:{port}") as worker:
        wait_until(lambda: healthz(port)[0] == 200)
        found: list[int] = []
        held = threading.Thread(target=lambda: found.append(chat(port, max_tokens=60)[0]))
        held.start()
        wait_until(lambda: waiting_or_running(port) == 1)
        worker.terminate()
        held.join()
        assert found == [200]
        assert worker.wait(5) == 0


def test_a_supervisor_that_is_killed_leaves_no_child() -> None:
    with running("supervise", "--", sys.executable, "-c", "import time; time.sleep(60)") as supervisor:
        wait_until(lambda: child_of(supervisor.pid))
        child = child_of(supervisor.pid)
        kill(supervisor.pid)
        wait_until(lambda: gone(child))


def test_a_supervisor_that_is_told_to_stop_takes_its_child_along() -> None:
    with running("supervise", "--", sys.executable, "-c", "import time; time.sleep(60)") as supervisor:
        wait_until(lambda: child_of(supervisor.pid))
        child = child_of(supervisor.pid)
        supervisor.terminate()
        assert supervisor.wait(8) == 0
        assert gone(child)


def test_a_supervisor_starts_again_what_dies() -> None:
    with running("supervise", "--", sys.executable, "-c", "import time; time.sleep(0.05)") as supervisor:
        seen: set[int] = set()
        wait_until(lambda: seen.add(child_of(supervisor.pid)) or len(seen - {0}) >= 3)  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["worker", "--listen", "8000"], "--listen: asked '8000', allowed: HOST:PORT or fd:N"),
        (["worker", "--listen", "fd:0"], "fd:0 is no socket"),
        (["worker", "--listen", "127.0.0.1:0", "--max-batch", "0"], "max_batch: asked 0, allowed"),
        (
            ["gateway", "--listen", "127.0.0.1:0", "--worker", "w"],
            "--worker: asked 'w', allowed: NAME=http://HOST:PORT",
        ),
        (["supervise", "--", *APPLIANCE, "worker", "--listen", "8000"], "--listen: asked '8000'"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_why(argv: list[str], says: str) -> None:
    ended = subprocess.run([*APPLIANCE, *argv], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=20)
    assert ended.returncode == INPUT_WRONG
    assert says in ended.stderr.decode()
