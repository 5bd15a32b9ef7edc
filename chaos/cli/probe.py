"""gameday probe URL: the load alone, on any endpoint, with no YAML: how fast is it, and how steady?"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from chaos.cli._common import RUNS, JsonOption, RunsOption
from chaos.errors import InputError

_WARM_UP = 1.0  # s: connections are opened, and counted nowhere


def probe(
    url: Annotated[str, typer.Argument(help="The endpoint.")],
    rate: Annotated[
        str | None, typer.Option(help="Requests offered per second, open loop; 100/s, or as the trace has it.")
    ] = None,
    for_: Annotated[str, typer.Option("--for", help="How long.")] = "30s",
    process: Annotated[str | None, typer.Option("--arrivals", help="poisson, constant, gamma or trace.")] = None,
    burstiness: Annotated[float | None, typer.Option(help="Shape of gamma arrivals: below 1 they are bursty.")] = None,
    trace: Annotated[str | None, typer.Option(help="A CSV to replay as recorded.", show_default=False)] = None,
    method: Annotated[str | None, typer.Option(help="GET, or POST where there is a body.", show_default=False)] = None,
    json_body: Annotated[str | None, typer.Option("--body", help="A JSON body; {seq} is the arrival's number.")] = None,
    slo: Annotated[str | None, typer.Option(help="The latency up to which an answer is good, like 200ms.")] = None,
    timeout: Annotated[str, typer.Option(help="When an answer is given up.")] = "10s",
    seed: Annotated[int, typer.Option(help="Of the schedule.")] = 1,
    out: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Measure QPS, its fluctuation and latency of an endpoint by an open-loop load."""
    from chaos.cli.operate import progress_on, show
    from chaos.conduct import conclude
    from chaos.record.recording import Recording
    from chaos.report.jsonout import verdict_json
    from chaos.run.runner import Runner

    arrivals = _arrivals(process, rate, burstiness, trace)
    plan = _plan(url, arrivals, for_, method, json_body, slo, timeout, seed)
    with progress_on(sys.stderr if as_json else sys.stdout)(plan.terms.name) as watcher:
        folder = Runner(plan, {}, f"# gameday probe {url}\n", out, watcher).run()
    done = conclude(Recording.open(folder))
    if as_json:
        sys.stdout.write(verdict_json([done.verdict]))
    else:
        show(done)
    raise typer.Exit(int(done.exit_code))


def _plan(
    url: str, arrivals: dict[str, Any], span: str, method: Any, body: Any, slo: Any, timeout: str, seed: int
) -> Any:
    from pydantic import ValidationError

    from chaos import units
    from chaos.plan.plan import Plan, PlannedClass, PlannedLoad, PlannedSlo
    from chaos.plan.rates import intended_rates, mean_rate
    from chaos.plan.reach import BlastRadius
    from chaos.record.terms import Terms
    from chaos.spec.arrivals import Arrivals
    from probes.errors import PlanError
    from probes.plan import RESPONSE_LIMIT
    from probes.url import Url

    try:
        Url.parse(url)
        observe, agreed = units.duration(span), Arrivals.model_validate(arrivals)
        if observe <= 0:
            raise InputError(f"--for must be more than 0; found {span}")
        slo_latency = units.duration(slo) if slo else None
        load = PlannedLoad(
            url=url,
            method=method or ("POST" if body else "GET"),
            headers={"Content-Type": "application/json"} if body else {},
            classes=(PlannedClass(name="default", weight=1, body=body, is_json=body is not None),),
            process=agreed.process,
            rate=agreed.rate,
            burstiness=agreed.burstiness,
            trace=agreed.trace,
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
        )
        profile = intended_rates(load, _WARM_UP, 0, observe)
        terms = Terms(
            name=f"probe {url}",
            rate=mean_rate(profile, 0, observe) if profile else agreed.rate or 0.0,
            process=agreed.process,
            burstiness=agreed.burstiness,
            profile=profile,
            slo_latency=slo_latency,
            warmup=_WARM_UP,
            baseline=0,
            observe=observe,
        )
    except PlanError as error:
        raise InputError(str(error)) from error
    except ValidationError as error:
        said = (": ".join((*map(str, e["loc"][-1:]), e["msg"].removeprefix("Value error, "))) for e in error.errors())
        raise InputError("; ".join(said)) from error
    nobody = BlastRadius(hosts=(), hosts_at_once=0, groups_at_once={})
    return Plan(trial=0, terms=terms, load=load, steps=(), abort=(), reach=nobody)


def _arrivals(process: str | None, rate: str | None, burstiness: float | None, trace: str | None) -> dict[str, Any]:
    """Return what was given as an experiment's `arrivals` would have it, with the command's own defaults."""
    if trace is not None and rate is not None:
        raise InputError("--rate: a trace is replayed as recorded; leave --rate out, or fit it in an experiment")
    process = process or ("poisson" if trace is None else "trace")
    given = {"process": process, "rate": rate, "burstiness": burstiness, "trace": trace}
    if process != "trace":
        given["rate"] = rate or "100/s"
    return {key: value for key, value in given.items() if value is not None}
