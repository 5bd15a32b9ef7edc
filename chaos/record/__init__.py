"""What happened, append-only: the one thing that `run` writes and `judge`, `report` and the page read.

A recording is a folder, `runs/<experiment>/<utc>-<id>/`:

    experiment.yaml   as given                        plan.json       what was going to happen (with `terms`)
    events.jsonl      one line an event, fsynced      ledger.jsonl    each undo, written before its fault
    samples.bin       a row per request               counters.jsonl  host counters during the run
    traffic.jsonl     a row per window, in place of samples, where traffic was only watched
    locust.json       how many users and workers a load by Locust had
    probes/NAME.bin   a row per check of a health probe
    meta.json         versions, host, command line    verdict.json    what judge made of it (rewritable)

Everything but verdict.json and report.html is written once. Reading a recording runs nothing in it.
"""
