"""Recorded arrivals and their token counts, read from a CSV block by block: memory does not grow with the file.

The columns are those of the Azure LLM inference traces of 2023 (CC-BY-4.0; Patel et al., "Splitwise", ISCA 2024): a
header names TIMESTAMP, ContextTokens and GeneratedTokens, in any order and case, other columns are passed over.
A timestamp is ISO-like in UTC ("2023-11-16 18:17:03.9799600") or plain seconds; the first row tells which. Rows are
in order of time. The first row is time 0.

A replay may be fitted to a rate, whose measure is the mean of the whole trace, (rows - 1) / (last - first):

    thin    each row is kept with probability rate / mean, independently: gaps within what is kept are as recorded
    scale   time is stretched by mean / rate: every row is kept, and gaps keep their proportions
    none    as recorded
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np

from probes.errors import PlanError
from probes.schedule import NS, Ints
from probes.seeds import Stream, stream

Fit = Literal["thin", "scale"]
COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_ROWS = 512  # read at a time: a third of a millisecond, since it is done between sends


class Rows(NamedTuple):
    """A block of rows, one array a column: ns from the first row, tokens in the prompt, tokens in the answer."""

    times: Ints
    context: Ints
    generated: Ints


@dataclass(frozen=True)
class Trace:
    """One file. Every pass over it raises PlanError, with file and line, for what is wrong in it."""

    path: Path

    def blocks(self) -> Iterator[Rows]:
        """Yield all rows in order."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                yield from self._read(file)
        except PlanError:
            raise
        except (OSError, ValueError, csv.Error) as error:
            raise PlanError(f"{self.path}: can't be read: {getattr(error, 'strerror', None) or error}") from error

    def extent(self) -> tuple[int, float]:
        """Return the number of rows, and the seconds from the first to the last."""
        rows, last = 0, 0
        for block in self.blocks():
            rows, last = rows + len(block.times), int(block.times[-1])
        if last == 0:
            raise PlanError(f"{self.path}: a trace needs rows at two different times at least; found {rows} rows")
        return rows, last / NS

    def _read(self, file: IO[str]) -> Iterator[Rows]:
        reader = csv.reader(file)
        columns = self._columns(next(reader, []))
        origin, latest, line = None, 0, 2
        while lines := list(islice(reader, _ROWS)):
            rows = self._parsed(lines, columns, line)
            origin = int(rows.times[0]) if origin is None else origin
            times = rows.times - origin
            self._check(times, rows, latest, line)
            latest, line = int(times[-1]), line + len(lines)
            yield rows._replace(times=times)

    def _columns(self, header: list[str]) -> list[int]:
        names = [name.strip().casefold() for name in header]
        if missing := [name for name in COLUMNS if name.casefold() not in names]:
            wanted = ", ".join(COLUMNS)
            raise PlanError(f"{self.path}:1: the header has no {missing[0]}; the columns of a trace are {wanted}")
        return [names.index(name.casefold()) for name in COLUMNS]

    def _parsed(self, lines: list[list[str]], columns: list[int], first: int) -> Rows:
        """Return a block as numbers; only where that fails is the wrong line looked for."""
        try:
            return _numbers(lines, columns)
        except (ValueError, IndexError, OverflowError):
            for number, line in enumerate(lines, first):
                try:
                    _numbers([line], columns)
                except (ValueError, IndexError, OverflowError) as error:
                    raise PlanError(f"{self.path}:{number}: {','.join(line)[:80]!r} is no row of a trace") from error
            raise PlanError(f"{self.path}:{first}: timestamps are dates in some rows and seconds in others") from None

    def _check(self, times: Ints, rows: Rows, latest: int, first: int) -> None:
        back = np.flatnonzero(np.diff(times, prepend=latest) < 0)
        if len(back):
            raise PlanError(f"{self.path}:{first + int(back[0])}: earlier than the row before; sort the rows by time")
        negative = np.flatnonzero((rows.context < 0) | (rows.generated < 0))
        if len(negative):
            raise PlanError(f"{self.path}:{first + int(negative[0])}: a number of tokens can't be negative")


@dataclass(frozen=True)
class Replay:
    """The arrivals of a trace over `duration` s: every pass gives the same. Make it with `of`."""

    trace: Trace
    duration: float
    keep: float
    stretch: float
    seed: int

    @classmethod
    def of(cls, path: Path | str, fit: Fit | None, rate: float | None, duration: float, seed: int) -> Replay:
        """Read the trace through and fit it. Raises PlanError where it is wrong, too short or too slow."""
        trace = Trace(Path(path))
        rows, seconds = trace.extent()
        mean = (rows - 1) / seconds
        wanted = mean if rate is None else rate
        if fit == "thin" and wanted > mean:
            raise PlanError(f"{path}: has {mean:.4g}/s on the mean and can't be thinned to {wanted:g}/s; scale it")
        stretch = mean / wanted if fit == "scale" else 1.0
        if seconds * stretch < duration:
            lasts = f"{seconds * stretch:.6g} s" + (" once scaled" if fit == "scale" else "")
            raise PlanError(f"{path}: lasts {lasts}, the load lasts {duration:g} s")
        return cls(trace, duration, wanted / mean if fit == "thin" else 1.0, stretch, seed)

    def offsets(self) -> Iterator[Ints]:
        """Yield the arrivals' times, ns from the start of the load, block by block."""
        return (rows.times for rows in self.rows())

    def rows(self) -> Iterator[Rows]:
        """Yield the arrivals with their token counts, block by block."""
        end, random = round(self.duration * NS), stream(self.seed, Stream.THINNING)
        for rows in self.trace.blocks():
            if self.stretch != 1.0:
                rows = rows._replace(times=np.floor(rows.times * self.stretch).astype(np.int64))
            kept = rows.times < end
            if self.keep < 1.0:
                kept &= random.random(len(kept)) < self.keep
            yield Rows(*(column[kept] for column in rows))
            if rows.times[-1] >= end:
                return


class TokenCounts:
    """The token counts of an arrival by its number; quick when asked in the order of the schedule. Holds one block."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._rewind()

    def __call__(self, seq: int) -> tuple[int, int]:
        """Return the tokens in the prompt and in the answer."""
        if seq < self._first:
            self._rewind()
        while seq >= self._first + len(self._pairs):
            self._advance(next(self._blocks))
        return self._pairs[seq - self._first]

    def _rewind(self) -> None:
        self._blocks, self._first = self._replay.rows(), 0
        self._pairs: list[tuple[int, int]] = []

    def _advance(self, rows: Rows) -> None:
        self._first += len(self._pairs)
        self._pairs = list(zip(rows.context.tolist(), rows.generated.tolist(), strict=True))


def _numbers(lines: list[list[str]], columns: list[int]) -> Rows:
    when, context, generated = ([line[column] for line in lines] for column in columns)
    return Rows(_times(when), np.array(context, np.int64), np.array(generated, np.int64))


def _times(texts: list[str]) -> Ints:
    """Return timestamps in ns. numpy reads dates, and also words like "now", which are none here."""
    if not all(text[:1].isdigit() for text in texts):
        raise ValueError("not a time")
    if "-" not in texts[0]:
        return np.rint(np.array(texts, np.float64) * NS).astype(np.int64)
    plain = [text.removesuffix("Z").removesuffix("+00:00") for text in texts]
    return np.array(plain, "datetime64[ns]").astype(np.int64)
