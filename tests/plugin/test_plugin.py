"""The pytest plugin, as its users meet it: pytest is run on a folder with an experiment, against a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest_plugins = ["pytester"]


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        failed = self.path == "/broken"
        self.send_response(500 if failed else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def folder(pytester: pytest.Pytester, server: str) -> pytest.Pytester:
    pytester.makefile(".yaml", inventory=f"hosts: {{box: {{connection: local, endpoint: '{server}'}}}}")
    pytester.makefile(".yaml", healthy=experiment("/"), broken=experiment("/broken"))
    pytester.makefile(".yaml", other="name: not an experiment\nsteps: []\n")
    pytester.makeini("[pytest]\ngameday_inventory = inventory.yaml\nasyncio_default_fixture_loop_scope = function\n")
    return pytester


def experiment(path: str) -> str:
    return f"""
name: no fault, path {path}
load:
  url: http://{{box}}{path}
  arrivals: {{process: constant, rate: 50/s}}
  slo: {{latency: 2s}}
timeline: {{warmup: 0s, baseline: 1s, observe: 2s}}
budgets: {{availability: 99%}}
"""


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *args)


def test_an_experiment_is_an_item_and_a_pass_is_a_pass(folder: pytest.Pytester) -> None:
    result = run(folder, "healthy.yaml", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["healthy.yaml::healthy PASSED*"])


def test_a_failure_shows_the_figures_and_no_traceback(folder: pytest.Pytester) -> None:
    result = run(folder, "broken.yaml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*experiment: no fault, path /broken*",
            "*FAIL  no fault, path /broken*",
            "availability*0 %*FAIL*",
            "report: *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*conduct.py*")


def test_only_what_looks_like_an_experiment_is_collected(folder: pytest.Pytester) -> None:
    result = run(folder, "--collect-only", "-q")
    result.stdout.fnmatch_lines(["broken.yaml::broken", "healthy.yaml::healthy"])
    result.stdout.no_fnmatch_line("*other*")
    result.stdout.no_fnmatch_line("*inventory.yaml::*")


def test_trials_are_items_of_their_own(folder: pytest.Pytester) -> None:
    result = run(folder, "--collect-only", "-q", "--gameday-trials", "2", "healthy.yaml")
    result.stdout.fnmatch_lines(["healthy.yaml::healthy?trial-1?", "healthy.yaml::healthy?trial-2?"])


def test_a_mistake_is_a_collection_error_with_its_place(folder: pytest.Pytester) -> None:
    folder.makefile(".yaml", wrong=experiment("/").replace("rate: 50/s", "rate: 50"))
    result = run(folder, "wrong.yaml")
    result.stdout.fnmatch_lines(["wrong.yaml:4:33: load.arrivals.rate: '50' has no unit*"])
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_what_is_refused_is_skipped_with_its_reason(folder: pytest.Pytester) -> None:
    fault = "faults: [{kind: process_pause, on: box, for: 1s, match: no such process runs here}]\n"
    folder.makefile(".yaml", refused=experiment("/") + fault)
    result = run(folder, "refused.yaml", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*refused: box: process_pause can act: no process matches*"])


def test_the_fixture_gives_the_figures_and_an_unknown_one_can_not_be_asserted(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        """
        import pytest
        from chaos.pytest_plugin import NotPassed
        from chaos.units import seconds

        def test_availability(gameday):
            result = gameday.run("healthy.yaml")
            assert result.availability == 1.0
            with pytest.raises(NotPassed, match="time_to_recover_s has no value|no fault"):
                result.figure("time_to_recover_s")

        def test_seconds():
            assert repr(__import__("chaos.pytest_plugin").pytest_plugin.Seconds(4.0)) == "4 s"
            assert seconds(3) < seconds(4)
        """
    )
    run(folder, "test_the_fixture_gives_the_figures_and_an_unknown_one_can_not_be_asserted.py").assert_outcomes(
        passed=2
    )


def test_plain_pytest_in_this_repository_runs_only_its_tests(request: pytest.FixtureRequest) -> None:
    assert request.config.getini("testpaths") == ["tests"]
