from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from chaos.judge.verdict import Verdict
from chaos.record.recording import Recording
from chaos.report.html import write_html
from tests.unit.report import report_examples as examples

VOID = {"meta", "br", "hr", "img", "input", "link"}
EVIL = "<script>alert(1)</script><img src=http://evil/x onerror=alert(1)>\"'{{ 7*7 }}"


class Page(HTMLParser):
    """The elements of a page, and whether each that was opened was closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    def attributes(self) -> set[str]:
        return {name for _, attrs in self.elements for name in attrs}


def page_of(recording: Recording, verdict: Verdict, path: Path) -> tuple[Page, str]:
    write_html(recording, verdict, path)
    text = path.read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture(scope="module")
def report(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("html") / "report.html"
    write_html(recording, examples.verdict("fail"), path)
    return path


def assert_fetches_nothing(page: Page, text: str) -> None:
    assert page.tags().isdisjoint({"script", "iframe", "object", "embed", "link", "img", "image", "use", "a", "base"})
    assert page.attributes().isdisjoint({"src", "href", "xlink:href", "srcset", "data", "action", "poster"})
    assert not [name for name in page.attributes() if name.startswith("on")]
    assert not re.search(r"@import|url\(", "".join(re.findall(r"<style>.*?</style>", text, re.DOTALL)))
    assert "default-src 'none'" in text


def test_the_page_is_whole_fetches_nothing_and_is_small(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert_fetches_nothing(page, text)
    assert len(text.encode()) < 1_500_000


def test_the_verdict_comes_first_then_budgets_then_charts_then_hosts(report: Path) -> None:
    text = Page(report.read_text(encoding="utf-8")).text
    order = ["✗ FAIL", "mttr: 23 s, at most 15 s", "Budget", "Figures", "Over time", "What was done", "Evidence"]
    places = [text.index(part) for part in [*order, "Load generator", "Environment", "Experiment as given"]]
    assert places == sorted(places)


def test_charts_name_the_fault_the_release_and_the_recovery(report: Path) -> None:
    page = Page(report.read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.elements].count("svg") == 4
    for name in ("netem on worker-2", "released", "recovered", "warm-up"):
        assert page.text.count(name) >= 4
    assert "-25.0 s: offered" in page.text


def test_a_fault_is_shaded_in_the_colour_it_asked_for(tmp_path: Path) -> None:
    log = [e | ({"shade": "#123abc"} if e["event"] == "fault.applied" else {}) for e in examples.events()]
    recording = Recording.open(examples.write_recording(tmp_path / "run", log))
    assert page_of(recording, examples.verdict(), tmp_path / "r.html")[1].count('fill="#123abc"') == 4


def test_hostile_strings_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    fault = {"fault": EVIL, "host": EVIL}
    log: list[dict[str, Any]] = [
        examples.event("load.started", -25.0, zero=examples.ZERO),
        examples.event("fault.applied", 0.2, began=examples.ZERO, kind=EVIL, shade='"/><script>', **fault),
        examples.event("note", 1.0, text=EVIL),
    ]
    folder = examples.write_recording(tmp_path / "run", log, hypothesis=EVIL)
    (folder / "experiment.yaml").write_text(f"name: {EVIL}\n</pre>\x1b")
    (folder / "meta.json").write_text('{"<b>": "<script>x</script>"}')
    line = examples.NETEM.model_copy(update={"id": EVIL, "kind": EVIL, "host": EVIL, "asked": {EVIL: 1.0}})
    budgets = (examples.budget("mttr", 1.0, 2.0, "fail").model_copy(update={"name": EVIL}),)
    figures = examples.figures(**{EVIL: examples.figures()["qps_mean"]})
    texts = {"experiment": EVIL, "run": EVIL, "reasons": (EVIL,), "stuck": (EVIL,), "drift": (EVIL,)}
    hostile = examples.verdict("fail", **texts, faults=(line,), budgets=budgets, figures=figures)
    page, text = page_of(Recording.open(folder), hostile, tmp_path / "r.html")
    assert page.open == []
    assert_fetches_nothing(page, text)
    assert page.text.count(EVIL) > 10
    assert "\x1b" not in text


def test_a_run_that_never_started_its_load_still_has_a_report(tmp_path: Path) -> None:
    folder = examples.write_recording(tmp_path / "run", [examples.event("run.started", 0.0, command="gameday run x")])
    (folder / "samples.bin").unlink()
    page, _ = page_of(Recording.open(folder), examples.verdict("unknown", faults=()), tmp_path / "r.html")
    assert "No request was recorded" in page.text
    assert "No fault was asked for" in page.text


def test_streams_errors_and_what_the_load_used_are_shown(recording: Recording, tmp_path: Path) -> None:
    page, _ = page_of(recording, examples.streamed(), tmp_path / "r.html")
    said = "".join(page.text.split())
    for row in (
        "status 503 1,211 connect refused 32 timeout 4",
        "time to first token p99 210 ms",
        "output tokens per second 3,992/s",
        "busiest second, of a core 31.2 % event loop lag p99 310 µs event loop lag, greatest 4.2 ms transport wire",
    ):
        assert row.replace(" ", "") in said


def test_a_long_run_is_thinned_and_stays_small(tmp_path: Path) -> None:
    recording = Recording.open(examples.write_recording(tmp_path / "run", warmup=2.0, baseline=23.0, window=0.02))
    page, text = page_of(recording, examples.verdict(), tmp_path / "r.html")
    assert "Each point is up to 10 windows." in page.text
    assert len(text.encode()) < 1_500_000


def test_chromium_draws_the_page_without_a_complaint(report: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "chromium is not installed; scripts/test installs it"
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *quiet]
    command += ["--enable-logging=stderr", f"--user-data-dir={tmp_path}/profile", "--window-size=1100,2400"]
    done = subprocess.run(
        [*command, f"--screenshot={tmp_path}/shot.png", report.as_uri()], capture_output=True, text=True, timeout=60
    )
    assert "CONSOLE" not in done.stderr
    assert (tmp_path / "shot.png").stat().st_size > 100_000, done.stderr


def test_probes_stand_in_a_table_of_their_own(recording: Recording, tmp_path: Path) -> None:
    without, _ = page_of(recording, examples.verdict(), tmp_path / "without.html")
    assert "Health probes" not in without.text
    hostile = examples.PROBES[1].model_copy(update={"name": EVIL})
    page, text = page_of(recording, examples.verdict(probes=(*examples.PROBES, hostile)), tmp_path / "with.html")
    assert "detected at 0.51 s (490 ms before the load's onset), back at 20.21 s" in page.text
    assert "detected at 4.00 s (3 s after the load's onset), still down at the end" in page.text
    assert page.open == []
    assert_fetches_nothing(page, text)
