"""pytest runs experiments: each YAML file is a test item a trial, and the `gameday` fixture runs one from code.

    pytest experiments/                                  def test_worker_kill(gameday):
    pytest experiments/ --gameday-inventory prod.yaml        result = gameday.run("experiments/node/worker-kill.yaml")
                                                             assert result.mttr < seconds(30)

A broken budget or an unknown verdict fails the test, and the message is the verdict's figures, not a traceback. What a
guard refused before anything was touched is a skip with its reason. Only files that look like an experiment (`load:`
and `timeline:` at their top level) are collected, so other YAML in a repository is left alone.

This module is imported at every start of pytest in an environment where the package is installed: it imports nothing
heavy before an experiment is really run.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from chaos.conduct import Conducted, Conductor
    from chaos.spec.experiment import Experiment

_LOOKS_LIKE_ONE = re.compile(r"(?=.*^load:)(?=.*^timeline:)", re.MULTILINE | re.DOTALL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with an ini of the same meaning."""
    group = parser.getgroup("gameday", "chaos experiments")
    group.addoption("--gameday-inventory", metavar="FILE", help="the inventory; the lab's by default")
    group.addoption("--gameday-trials", metavar="N", type=int, help="repeat each experiment so often")
    group.addoption("--gameday-out", metavar="DIR", help="the folder of recordings (default: runs)")
    parser.addini("gameday_inventory", "the inventory, relative to the root folder")
    parser.addini("gameday_out", "the folder of recordings, relative to the root folder", default="runs")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a YAML file that looks like an experiment."""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    if not _LOOKS_LIKE_ONE.match(file_path.read_text(encoding="utf-8", errors="replace")):
        return None
    return ExperimentFile.from_parent(parent, path=file_path)


class ExperimentFile(pytest.File):
    """One experiment; its items are its trials."""

    def collect(self) -> Iterator[pytest.Item]:
        """Read the experiment; a mistake in it is a collection error with its file:line:column."""
        from chaos.errors import InputError

        try:
            # errors name the file as people named it: relative to where pytest was started
            experiment = _load(Path(os.path.relpath(self.path, self.config.invocation_params.dir)))
        except InputError as error:
            raise self.CollectError(str(error)) from error
        trials = self.config.getoption("--gameday-trials") or experiment.trials
        for trial in range(trials):
            name = self.path.stem if trials == 1 else f"{self.path.stem}[trial-{trial + 1}]"
            yield ExperimentItem.from_parent(self, name=name, experiment=experiment, trial=trial)


class ExperimentItem(pytest.Item):
    """One trial of one experiment."""

    def __init__(self, *, experiment: Experiment, trial: int, **rest: Any) -> None:
        super().__init__(**rest)
        self._experiment, self._trial = experiment, trial
        if self.config.pluginmanager.hasplugin("timeout"):
            self.add_marker(pytest.mark.timeout(0))  # an experiment takes as long as its timeline says

    def runtest(self) -> None:
        """Run the trial; anything but a pass is raised."""
        done = _conduct(self.config, self._experiment, self.path, self._trial)
        for name, figure in done.verdict.figures.items():
            self.user_properties.append((name, figure.value))
        self.add_report_section("call", "gameday", _text(done))
        if done.verdict.verdict != "pass":
            raise NotPassed(_text(done))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show figures for a verdict, one message for an error of ours, and a traceback for a defect only."""
        from chaos.errors import ChaosError

        if isinstance(excinfo.value, (NotPassed, ChaosError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Name the experiment."""
        return self.path, None, f"experiment: {self._experiment.name}"


class NotPassed(Exception):
    """A verdict other than pass; its text is what the failure shows."""


class Seconds(float):
    """A duration of a result: compares as a number, shows as what it is."""

    def __repr__(self) -> str:
        return "never" if math.isinf(self) else f"{float(self):.3g} s"


class Result:
    """What `gameday.run` returns: figures that can be asserted. On an unknown verdict every figure raises NotPassed."""

    def __init__(self, done: Conducted) -> None:
        self.verdict, self.recording, self.report = done.verdict, done.recording, done.report
        self._done = done

    @property
    def mttr(self) -> Seconds:
        """Time to recover, in s; infinite when it never did."""
        return Seconds(self.figure("time_to_recover_s", math.inf))

    @property
    def time_to_detect(self) -> Seconds:
        """Time until the dip shows in the measurement, in s; infinite when it never did."""
        return Seconds(self.figure("time_to_detect_s", math.inf))

    @property
    def qps_cv(self) -> float:
        """Real coefficient of variation of QPS, the arrivals' own noise taken out."""
        return self.figure("qps_cv_real")

    @property
    def qps_dip(self) -> float:
        """Depth of the deepest dip of QPS, as a share of the baseline."""
        return self.figure("qps_dip")

    @property
    def availability(self) -> float:
        """Share of all requests that were good."""
        return self.figure("availability_requests")

    def figure(self, name: str, default: float | None = None) -> float:
        """Return a figure's value. Raises NotPassed for an unknown verdict, and for a figure without a value."""
        if self.verdict.verdict == "unknown":
            raise NotPassed(f"the verdict is unknown, so nothing can be asserted of it\n{_text(self._done)}")
        figure = self.verdict.figures.get(name)
        value = figure.value if figure else None
        if value is None and default is None:
            raise NotPassed(f"{name} has no value in this run\n{_text(self._done)}")
        return float(value if value is not None else default or 0.0)

    def __repr__(self) -> str:
        return f"<{self.verdict.verdict}: {self.verdict.experiment} ({self.recording.path})>"


class Gameday:
    """The fixture: runs experiments against the session's inventory."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def run(self, path: str | Path, trial: int = 0) -> Result:
        """Run one trial of an experiment (a path relative to pytest's root folder) and judge it."""
        file = self._config.rootpath / path
        return Result(_conduct(self._config, _load(file), file, trial))


@pytest.fixture
def gameday(request: pytest.FixtureRequest) -> Gameday:
    """Run experiments from a test: `gameday.run("experiments/node/worker-kill.yaml").mttr`."""
    return Gameday(request.config)


def _load(path: Path) -> Experiment:
    from chaos import catalog
    from chaos.spec.experiment import load_experiment

    return load_experiment(path, catalog.faults())


def _conduct(config: pytest.Config, experiment: Experiment, path: Path, trial: int) -> Conducted:
    from chaos.errors import Refusal

    try:
        return _conductor(config).trial(experiment, path.read_text(encoding="utf-8"), trial)
    except Refusal as error:
        pytest.skip(f"refused: {error}")


def _conductor(config: pytest.Config) -> Conductor:
    from chaos.conduct import Conductor
    from chaos.spec.inventory import load_inventory

    out = config.getoption("--gameday-out") or config.getini("gameday_out")
    return Conductor(load_inventory(_inventory(config)), config.rootpath / out, _quiet)


def _inventory(config: pytest.Config) -> Path:
    named = config.getoption("--gameday-inventory") or config.getini("gameday_inventory")
    if named:
        return Path(config.rootpath / named)
    from chaos.conduct import lab_inventory

    return lab_inventory()


def _quiet(name: str) -> AbstractContextManager[Any]:
    from rich.console import Console

    from chaos.report.progress import PlainProgress

    return nullcontext(PlainProgress(Console(file=sys.stdout), name))  # captured, and shown with a failure


def _text(done: Conducted) -> str:
    from chaos.judge.series import series_of
    from chaos.report.terminal import verdict_text

    text = verdict_text(done.verdict, series_of(done.recording), hypothesis=done.recording.terms.hypothesis)
    return f"{text}\nreport: {done.report}"
