"""Measuring instruments: what sends requests and keeps what became of each.

Usable on its own, and nothing here imports `chaos`. One run is one process, `python -m probes.load PLAN.json`:

    plan       what to send, where, how fast, for how long; JSON in and out (the caller writes it)
    schedule   pure: the whole send schedule, fixed before the first send (`profile` bends its rate, `seeds` draws)
    trace      recorded arrivals and their token counts, as such a schedule
    url        a target's address, taken apart once
    request    a class of requests as bytes (`template` says what may stand in a body)
    timer      waking at absolute times; timeouts of equal length
    endpoint   where connections go, and how https is verified there
    wire       one HTTP/1.1 connection, and what can go wrong with it (`errors` names it)
    streams    a connection whose answers are streamed chat completions (`sse`, `completion`)
    httpx_channel   HTTP/2, by httpx
    open_loop  arrivals meet channels: the hot path
    samples    every request as a row of fixed width, every chunk of a stream as a time
    slo        when an answer is good
    live       counters per second in shared memory, for who watches while it runs
    generator  what the load itself used of its machine
    load       the process around all this: signals, its owner's death, exit status
    merge      the files of processes that shared a load made one
    owner      when such a process is to stop: told to, or without an owner
    health     probes beside the load (HTTP, TCP, ICMP, PromQL, a command), in a process of their own
    prometheus instant queries to Prometheus

`transport` gives the same connections to httpx: `httpx.AsyncClient(transport=WireTransport())` (`pool`, `exchange`).

A locustfile may stand in for all from `schedule` to `open_loop`: `python -m probes.locust_process` is one process of
Locust with `locust_recorder` beside it, which writes the same samples and counters. It is a closed loop, and says so.
`prometheus` asks a Prometheus what it knows of traffic that nobody here makes.

The load is an open loop: requests are sent when the schedule says so, whether or not earlier ones were answered, and
latency counts from the scheduled instant. A target that stalls therefore shows as late answers, never as fewer
questions ("coordinated omission", see the README of wrk2). What the load itself did late is kept beside it, in `sent`.
Every time is CLOCK_MONOTONIC of this machine in whole nanoseconds.
"""
