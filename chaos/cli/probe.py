"""gameday probe URL: the load alone, on any endpoint, with no YAML: how fast is it, and how steady?

The options are the keys of an experiment's `load`, and its model checks them: every rule stands once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chaos.cli._common import RUNS, DaskOption, JsonOption, ProcessesOption, RunsOption, print_json
from chaos.errors import InputError, Mistakes

if TYPE_CHECKING:
    from chaos.plan.plan import Plan
    from chaos.spec.experiment import Experiment

_WARM_UP = 1.0  # s: connections are opened, and counted nowhere
_OPTIONS = {
    "url": "URL",
    "arrivals.rate": "--rate",
    "arrivals.process": "--arrivals",
    "arrivals.burstiness": "--burstiness",
    "arrivals.trace": "--trace",
    "headers": "--header",
    "slo.latency": "--slo",
    "slo.ttft": "--ttft",
    "slo.tpot": "--tpot",
    "tls": "--cert",
    "tls.ca": "--ca",
    "tls.certificate": "--cert",
    "tls.key": "--key",
    "observe": "--for",
}
"""What a mistake is called after where the option has another name than the key."""


def probe(
    url: Annotated[str | None, typer.Argument(help="The endpoint.", show_default=False)] = None,
    rate: Annotated[str | None, typer.Option(help="Offered per second: 100/s, or as the trace has it.")] = None,
    for_: Annotated[str, typer.Option("--for", help="How long.")] = "30s",
    arrivals: Annotated[str | None, typer.Option(help="poisson, constant, gamma or trace.")] = None,
    burstiness: Annotated[float | None, typer.Option(help="Of gamma: less than 1 comes in bursts.")] = None,
    trace: Annotated[str | None, typer.Option(help="A CSV to replay as recorded.")] = None,
    method: Annotated[str | None, typer.Option(help="GET, or POST where there is a body.", show_default=False)] = None,
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="NAME: VALUE; repeatable.")] = None,
    body: Annotated[str | None, typer.Option(help="JSON unless a header says so; {seq} counts.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Time the tokens of streamed chat completions.")] = False,
    slo: Annotated[str | None, typer.Option(help="The latency up to which an answer is good, like 200ms.")] = None,
    ttft: Annotated[str | None, typer.Option(help="The like for the time to first token.")] = None,
    tpot: Annotated[str | None, typer.Option(help="The like for the time per output token after it.")] = None,
    timeout: Annotated[str, typer.Option(help="When an answer is given up.")] = "10s",
    connections: Annotated[int, typer.Option(help="The most open at once.")] = 2048,
    http2: Annotated[bool, typer.Option("--http2", help="Speak HTTP/2, by httpx; slower.")] = False,
    unix_socket: Annotated[str | None, typer.Option(help="Connect to this socket.")] = None,
    ca: Annotated[str | None, typer.Option(help="Authorities (PEM) to verify https by.")] = None,
    cert: Annotated[str | None, typer.Option(help="This client's certificate (PEM).")] = None,
    key: Annotated[str | None, typer.Option(help="Its key (PEM), where in another file.")] = None,
    seed: Annotated[int, typer.Option(help="Of the schedule.")] = 1,
    processes: ProcessesOption = None,
    dask: DaskOption = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure this machine's own ceiling and fluctuation, and keep them.")
    ] = False,
    out: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Measure QPS, its fluctuation and latency of an endpoint by an open-loop load."""
    if calibrate:
        _calibrate(url, as_json)
        return
    headers = _headers(header or ())
    load = {
        "url": url,
        "method": method or ("POST" if body else None),
        "headers": headers,
        "classes": [_class(body, headers)] if body is not None else None,
        "arrivals": _arrivals(arrivals, rate, burstiness, trace),
        "timeout": timeout,
        "stream": stream,
        "http2": http2,
        "unix_socket": unix_socket,
        "tls": _given(ca=ca, certificate=cert, key=key) or None,
        "slo": _given(latency=slo, ttft=ttft, tpot=tpot) or None,
        "connections": connections,
        "processes": processes,
    }
    plan = _plan(_experiment(_given(**load), for_, seed))
    raise typer.Exit(_measure(plan, out, as_json, dask))


def _measure(plan: Plan, out: Path, as_json: bool, dask: str | None) -> int:
    """Run the load, show what came of it, and return the exit code."""
    from chaos.cli.operate import progress_on, show
    from chaos.conduct import conclude
    from chaos.record.recording import Recording
    from chaos.report.jsonout import verdict_json
    from chaos.run.runner import Runner

    with progress_on(sys.stderr if as_json else sys.stdout)(plan.terms.name) as watcher:
        folder = Runner(plan, {}, f"# gameday {plan.terms.name}\n", out, watcher, dask=dask).run()
    done = conclude(Recording.open(folder))
    if as_json:
        sys.stdout.write(verdict_json([done.verdict]))
    else:
        show(done)
    return int(done.exit_code)


def _calibrate(url: str | None, as_json: bool) -> None:
    """Measure this machine, keep what came of it, and show it."""
    from chaos.run.calibration import DELAY, calibrate, store

    if url is not None:
        raise InputError(f"--calibrate: measures this machine alone and takes no URL; found {url}")
    found = calibrate(lambda text: typer.echo(text, err=True))
    path = store(found)
    if as_json:
        print_json(found.model_dump())
        return
    own = " · ".join(f"{own.cv:.2g} at {own.rate:,.0f}/s" for own in found.fluctuation)
    typer.echo(f"machine  {found.machine.hostname}: {found.machine.cores} cores, {found.machine.cpu}")
    typer.echo(f"ceiling  {found.ceiling:,.0f}/s on one core, send delay p99 within {DELAY * 1e3:g} ms, 0 unsent")
    typer.echo(f"own CV   {own} (1 s windows, paced): no budget below it can be measured from here")
    typer.echo(f"kept in  {path}")


def _experiment(load: Mapping[str, Any], span: str, seed: int) -> Experiment:
    """Return the experiment without faults that the options describe. Raises InputError with every mistake."""
    from chaos.spec.experiment import Experiment, Timeline
    from chaos.spec.load import Load, placeholders
    from chaos.spec.places import Document, show_path
    from chaos.spec.sheet import Sheet

    class Options(Sheet):
        def wrong(self, path: tuple[str | int, ...], text: str) -> None:
            super().wrong((), f"{_option(show_path(path))}: {text}" if path else text)

    options = Options(Document("", None, {}))
    checked = options.check(Load, load, ())
    timeline = options.check(Timeline, {"baseline": "1s", "observe": span}, ())
    if checked and timeline:
        for at, text in checked.mistakes(_WARM_UP + timeline.observe):
            options.wrong(at, text)
    options.close(Mistakes)
    assert checked is not None
    assert timeline is not None
    if placeholders(checked.url):
        raise InputError(f"URL: {checked.url!r} has braces; write them percent-encoded (%7B, %7D)")
    alone = timeline.model_copy(update={"warmup": _WARM_UP, "baseline": 0.0})
    return Experiment(name=f"probe {checked.url}", load=checked, timeline=alone, seed=seed)


def _plan(experiment: Experiment) -> Plan:
    """Plan it on no host at all."""
    from chaos.plan.plan import make_plan
    from chaos.spec.inventory import Inventory

    return make_plan(experiment, Inventory.model_construct(hosts={}))


def _option(path: str) -> str:
    """Return the option that a key of the load was given by."""
    if path.startswith("classes"):
        return "--body"
    return _OPTIONS.get(path) or "--" + path.replace("_", "-")


def _arrivals(process: str | None, rate: str | None, burstiness: float | None, trace: str | None) -> dict[str, Any]:
    """Return what was given as an experiment's `arrivals` would have it, with the command's own defaults."""
    if trace is not None and rate is not None:
        raise InputError("--rate: a trace is replayed as recorded; leave --rate out, or fit it in an experiment")
    process = process or ("poisson" if trace is None else "trace")
    rate = rate if process == "trace" else rate or "100/s"
    return _given(process=process, rate=rate, burstiness=burstiness, trace=trace)


def _given(**values: Any) -> dict[str, Any]:
    """Return what has a value: None stands for an option that was not used."""
    return {name: value for name, value in values.items() if value is not None}


def _headers(lines: Iterable[str]) -> dict[str, str]:
    """Return "NAME: VALUE" lines as headers."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise InputError(f"--header: must be NAME: VALUE; found {line!r}")
        headers[name.strip()] = value.strip()
    return headers


def _class(body: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the one class of requests, whose body is JSON unless a header says what else it is."""
    if any(name.lower() == "content-type" for name in headers):
        return {"name": "default", "body": body}
    try:
        return {"name": "default", "json": json.loads(body)}
    except ValueError as error:
        raise InputError(f"--body: is no JSON: {error}; say what it is with --header 'Content-Type: ...'") from error
