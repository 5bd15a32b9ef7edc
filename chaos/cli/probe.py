"""gameday probe URL: the load alone, on any endpoint, with no YAML: how fast is it, and how steady?"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from chaos.cli._common import RUNS, DaskOption, JsonOption, ProcessesOption, RunsOption
from chaos.errors import InputError

_WARM_UP = 1.0  # s: connections are opened, and counted nowhere


def probe(
    url: Annotated[str, typer.Argument(help="The endpoint.")],
    rate: Annotated[str, typer.Option(help="Requests offered per second, open loop.")] = "100/s",
    for_: Annotated[str, typer.Option("--for", help="How long.")] = "30s",
    process: Annotated[str, typer.Option("--arrivals", help="poisson, constant or gamma.")] = "poisson",
    method: Annotated[str | None, typer.Option(help="GET, or POST where there is a body.", show_default=False)] = None,
    json_body: Annotated[str | None, typer.Option("--body", help="A JSON body; {seq} is the arrival's number.")] = None,
    slo: Annotated[str | None, typer.Option(help="The latency up to which an answer is good, like 200ms.")] = None,
    timeout: Annotated[str, typer.Option(help="When an answer is given up.")] = "10s",
    seed: Annotated[int, typer.Option(help="Of the schedule.")] = 1,
    processes: ProcessesOption = None,
    dask: DaskOption = None,
    out: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Measure QPS, its fluctuation and latency of an endpoint by an open-loop load."""
    from chaos.cli.operate import progress_on, show
    from chaos.conduct import conclude
    from chaos.record.recording import Recording
    from chaos.report.jsonout import verdict_json
    from chaos.run.runner import Runner

    plan = _plan(url, rate, for_, process, method, json_body, slo, timeout, seed, processes or 1)
    with progress_on(sys.stderr if as_json else sys.stdout)(plan.terms.name) as watcher:
        folder = Runner(plan, {}, f"# gameday probe {url}\n", out, watcher, dask=dask).run()
    done = conclude(Recording.open(folder))
    if as_json:
        sys.stdout.write(verdict_json([done.verdict]))
    else:
        show(done)
    raise typer.Exit(int(done.exit_code))


def _plan(
    url: str,
    rate: str,
    span: str,
    process: str,
    method: Any,
    body: Any,
    slo: Any,
    timeout: str,
    seed: int,
    processes: int,
) -> Any:
    from pydantic import ValidationError

    from chaos import units
    from chaos.plan.plan import Plan, PlannedClass, PlannedLoad, PlannedSlo
    from chaos.plan.reach import BlastRadius
    from chaos.record.terms import Terms
    from probes.errors import PlanError
    from probes.plan import RESPONSE_LIMIT
    from probes.url import Url

    try:
        Url.parse(url)
        observe, per_second = units.duration(span), units.rate(rate)
        if observe <= 0 or per_second <= 0:
            raise InputError(f"--rate and --for must be more than 0; found {rate} and {span}")
        slo_latency = units.duration(slo) if slo else None
        terms = Terms(
            name=f"probe {url}", rate=per_second, process=process, slo_latency=slo_latency, warmup=_WARM_UP, baseline=0,
            observe=observe,
        )  # fmt: skip
        load = PlannedLoad(
            url=url,
            method=method or ("POST" if body else "GET"),
            headers={"Content-Type": "application/json"} if body else {},
            classes=(PlannedClass(name="default", weight=1, body=body),),
            process=process,
            rate=per_second,
            burstiness=1.0,
            seed=seed,
            duration=_WARM_UP + observe,
            slo=PlannedSlo(latency=slo_latency),
            timeout=units.duration(timeout),
            connect_timeout=3.0,
            first_byte_timeout=None,
            response_limit=RESPONSE_LIMIT,
            connections=2048,
            stream=False,
            http2=False,
            unix_socket=None,
            ca=None,
            certificate=None,
            key=None,
            processes=processes,
        )
    except PlanError as error:
        raise InputError(str(error)) from error
    except ValidationError as error:
        raise InputError("; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())) from error
    nobody = BlastRadius(hosts=(), hosts_at_once=0, groups_at_once={})
    return Plan(trial=0, terms=terms, load=load, steps=(), abort=(), reach=nobody)
