"""What a user of streamed answers sees: when the first token comes, at which pace the others, and how many in all.

    ttft   first token that is not empty - scheduled      time to first token, from the intended send
    tpot   (end - first token) / (tokens - 1)             time per output token, of answers with two tokens or more
    itl    between successive chunks of one answer        inter-token latency; a chunk is an event that carried tokens
    tokens_per_second                                     output tokens received in the observation, by its length

They are counted as vLLM's serving benchmark does (`vllm bench serve`), but for the intended send. Where several tokens
ride in one chunk its gaps are between chunks, so an itl is then not a time per token; tpot is.

All are over the requests that were answered with success. ttft, tpot and itl are of those that were due in the
observation, under the rule of `latency` for those that have none; tokens are counted when they were received, whenever
their request was due, each chunk with an equal share of its answer's tokens.

No loop goes over requests; at its peak this takes about 20 bytes a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chaos.clock import NS
from chaos.judge.finding import Findings, measured, missing
from chaos.judge.latency import percentile_findings
from chaos.judge.requests import BoolArray, IntArray, seconds_after
from chaos.record.recording import Recording
from chaos.record.samples import read_chunks

TTFT = {"ttft_p50_s": 0.50, "ttft_p90_s": 0.90, "ttft_p99_s": 0.99}
TPOT = {"tpot_p50_s": 0.50, "tpot_p99_s": 0.99}
ITL = {"itl_p50_s": 0.50, "itl_p99_s": 0.99}


@dataclass(frozen=True)
class Streams:
    """The samples of streamed answers (`rows`) and the times of their chunks in ns, in the order of the rows."""

    rows: NDArray[np.void]
    received: IntArray

    @property
    def complete(self) -> bool:
        """Whether every chunk that a row tells of has its time."""
        return int(self.rows["chunks"].sum(dtype=np.int64)) <= len(self.received)


def streams_of(recording: Recording, rows: NDArray[np.void]) -> Streams | None:
    """Return the streams of a recording, whose samples are `rows`; None where its load was none of streams."""
    if not recording.terms.stream:
        return None
    path = recording.path / "chunks.bin"
    return Streams(rows, read_chunks(path) if path.exists() else np.empty(0, np.int64))


def stream_findings(streams: Streams, answered: BoolArray, due: BoolArray, begin: int, span_s: float) -> Findings:
    """Return every figure of streams.

    `due` says which requests belong to the observation, which begins at `begin` (ns) and lasts `span_s`.
    """
    served = answered & due
    lost = 1 - int(served.sum()) / int(due.sum()) if due.any() else 0.0
    return {
        **_first(streams.rows[due], answered[due]),
        **_pace(streams.rows[due], answered[due]),
        **_by_chunk(streams, answered, served, lost, begin, span_s),
    }


def _first(rows: NDArray[np.void], answered: BoolArray) -> Findings:
    begun = rows[answered & (rows["first_token"] != 0)]
    times = seconds_after(begun["scheduled"], begun["first_token"])
    nothing = f"none of {len(rows)} requests was answered with a token"
    return percentile_findings(times, TTFT, 1 - len(begun) / len(rows) if len(rows) else 0.0, nothing)


def _pace(rows: NDArray[np.void], answered: BoolArray) -> Findings:
    """An answer of one token has no pace and lacks none; it is left out of both sides."""
    paced = rows[answered & (rows["tokens"] > 1) & (rows["first_token"] != 0)]
    expected = len(rows) - int(np.sum(answered & (rows["tokens"] == 1)))
    times = seconds_after(paced["first_token"], paced["end"]) / np.maximum(paced["tokens"] - 1, 1)
    nothing = f"none of {len(rows)} requests was answered with two tokens or more"
    unanswered = 1 - len(paced) / expected if expected else 0.0
    return percentile_findings(np.asarray(times, np.float32), TPOT, unanswered, nothing)


def _by_chunk(
    streams: Streams, answered: BoolArray, served: BoolArray, lost: float, begin: int, span_s: float
) -> Findings:
    if not streams.complete:
        why = "the times of some chunks are missing (chunks.bin was cut short or never written): repeat the run"
        return {name: missing("s", why) for name in ITL} | {"tokens_per_second": missing("1/s", why)}
    gaps = _gaps(streams, served)
    nothing = "no request was answered with two chunks or more"
    return percentile_findings(gaps, ITL, lost, nothing) | _throughput(streams, answered, begin, span_s)


def _gaps(streams: Streams, wanted: BoolArray) -> NDArray[np.float32]:
    """Return the times in s between successive chunks of the same request, of the requests that are wanted."""
    counts = streams.rows["chunks"]
    follows = np.repeat(wanted, counts)
    firsts = np.cumsum(counts, dtype=np.int64) - counts
    follows[firsts[counts > 0]] = False
    received = streams.received[: len(follows)]
    return seconds_after(received[:-1][follows[1:]], received[1:][follows[1:]])


def _throughput(streams: Streams, answered: BoolArray, begin: int, span_s: float) -> Findings:
    counts: NDArray[Any] = streams.rows["chunks"]
    each = np.where(answered, streams.rows["tokens"] / np.maximum(counts, 1), 0).astype(np.float32)
    shares = np.repeat(each, counts)
    received = streams.received[: len(shares)]
    inside = (received >= begin) & (received < begin + round(span_s * NS))
    tokens = float(np.sum(shares[inside], dtype=np.float64))
    if span_s <= 0:
        return {"tokens_per_second": missing("1/s", "nothing was observed")}
    return {"tokens_per_second": measured(tokens / span_s, "1/s")}
