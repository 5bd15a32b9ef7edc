import json
from collections.abc import Callable

import pytest

from scripts.benchmarks.outputs import Outcome, read_closed_loop, read_hey, read_locust, read_wrk
from scripts.benchmarks.processes import BenchError

WRK = """\
Running 1s test @ http://127.0.0.1:36891/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.95ms    1.46ms  12.14ms   86.25%
    Req/Sec    54.40k     8.30k   68.35k    70.00%
  54258 requests in 1.50s, 7.76MB read
"""
WRK_END = "Requests/sec:  36172.00\nTransfer/sec:      7.71MB\n"
HEY = """
Summary:
  Total:\t1.5000 secs
  Slowest:\t0.0205 secs
  Requests/sec:\t22456.2931

Response time histogram:
  0.000 [1]\t|
  0.002 [17987]\t|\u25a0\u25a0\u25a0

Status code distribution:
  [200]\t3000 responses
"""
HEY_FAILED = """\
  [503]\t20 responses

Error distribution:
  [7]\tGet "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: connect: connection refused
"""


def test_wrk_says_what_was_answered_in_how_long() -> None:
    assert read_wrk(WRK + WRK_END) == Outcome(54258 / 1.5, 0)


def test_answers_of_wrk_that_are_errors_are_no_rate() -> None:
    failed = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 4258\n"
    assert read_wrk(WRK + failed + WRK_END) == Outcome(50_000 / 1.5, 4268)


def test_wrk_in_minutes() -> None:
    assert read_wrk("  6000 requests in 1.00m, 1MB read\n").rate == 100


def test_hey_says_what_was_answered_in_how_long() -> None:
    assert read_hey(HEY) == Outcome(2000, 0)


def test_other_statuses_and_errors_of_hey_are_failures() -> None:
    assert read_hey(HEY + HEY_FAILED) == Outcome(2000, 27)


def test_hey_without_an_answer_has_no_rate() -> None:
    assert read_hey("  Total:\t0.3003 secs\n\nError distribution:\n  [3648]\tGet: refused\n") == Outcome(0, 3648)


def test_locust_counts_from_the_first_request_to_the_last_over_all_names() -> None:
    entry = {"num_requests": 600, "num_failures": 100, "start_time": 10.0, "last_request_timestamp": 12.0}
    later = {"num_requests": 500, "num_failures": 0, "start_time": 11.0, "last_request_timestamp": 14.0}
    assert read_locust("a line of its log\n" + json.dumps([entry, later], indent=4)) == Outcome(250, 100)


def test_locust_without_a_request_is_an_error() -> None:
    with pytest.raises(BenchError, match="no request"):
        read_locust("[]\n")


def test_closed_loop_counts_the_answers() -> None:
    assert read_closed_loop('{"ok": 30, "failed": 1, "seconds": 1.5}\n') == Outcome(20, 1)


@pytest.mark.parametrize("read", [read_wrk, read_hey])
def test_what_is_no_report_is_an_error_that_shows_it(read: Callable[[str], Outcome]) -> None:
    with pytest.raises(BenchError, match="unable to connect"):
        read("unable to connect to 127.0.0.1:1 Connection refused\n")
