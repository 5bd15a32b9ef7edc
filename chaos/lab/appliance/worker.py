"""The worker: an OpenAI-compatible server over the continuous-batching engine.

Takes `POST /v1/chat/completions` and gives an answer, plain or as a stream of events, one for each token as it comes.
Nominal capacity with the default settings, for requests of about 16 prompt tokens and 4 output tokens: a full batch of
32 admits 8 requests a step; the step takes 5 + 3.2 + 1.5 ms, so 8 / 9.7 ms = 820 requests/s (one at a time: 48/s; at
`max_batch` 8: 320/s). An unloaded request takes four steps, 21 ms, and up to one more of waiting for its turn.

`/healthz` is 503 until `startup` seconds have passed (a model would be loading) and once SIGTERM has come. A request
in that time gets 503 too, as does one that finds `max_waiting` others before it.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from itertools import count

from chaos.errors import InputError
from chaos.lab.appliance import openai
from chaos.lab.appliance.engine import QueueFull, Scheduler, Sequence, SleepEngine, TooLong
from chaos.lab.appliance.http1 import Exchange
from chaos.lab.appliance.metrics import Histogram, Page
from chaos.lab.appliance.service import Service, refuse
from chaos.lab.appliance.settings import WorkerSettings

MODEL = "reference"
"""What `model_name` says in the metrics; a request may name any model."""


class Generation(Sequence):
    """A request in the engine, and where its tokens go."""

    __slots__ = ("_created", "_exchange", "_headers", "_number", "_request")

    def __init__(
        self, exchange: Exchange, request: openai.ChatRequest, max_tokens: int, number: str, worker: bytes
    ) -> None:
        super().__init__(request.prompt_tokens, max_tokens)
        self._exchange, self._request, self._number = exchange, request, number
        self._created = int(time.time())
        self._headers = b"x-worker: " + worker + b"\r\n"

    def deliver(self) -> None:
        """Pass on the token just made: streamed at once, or the whole answer with the last."""
        if self._request.stream:
            self._stream()
        elif self.finished:
            answer = openai.completion(self._number, self._created, self._request, self.generated)
            self._exchange.respond(200, answer, b"content-type: application/json\r\n" + self._headers)

    def _stream(self) -> None:
        if self.generated == 1:
            kind = b"content-type: text/event-stream\r\ncache-control: no-cache\r\n"
            self._exchange.start(200, kind + self._headers)
        event = openai.token_event(self._number, self._created, self._request, self.generated - 1, self.finished)
        if not self.finished:
            self._exchange.send(event)
            return
        self._exchange.send(event + openai.closing_events(self._number, self._created, self._request, self.generated))
        self._exchange.end()


class Worker(Service):
    """Routes, readiness, the engine, and the numbers of `/metrics`."""

    def __init__(self, name: str, settings: WorkerSettings) -> None:
        super().__init__(name, settings)
        self.settings = settings
        self._label = name.encode("latin-1")
        self._scheduler = Scheduler(settings)
        self._ready_at = float("inf")
        self._numbers = count()
        self._prefix = os.urandom(4).hex()
        self._finished = self._aborted = self._prompt_tokens = self._generated_tokens = self._steps = 0
        self._rejected = {"starting": 0, "queue_full": 0, "too_long": 0, "malformed": 0}
        self._first_token, self._latency, self._queued = Histogram(), Histogram(), Histogram()
        self.routes["/healthz"] = {"GET": self._healthz}
        self.routes["/v1/chat/completions"] = {"POST": self._chat}

    def open(self) -> None:
        """Begin to start up."""
        loop = asyncio.get_running_loop()
        self._ready_at = time.monotonic() + self.settings.startup
        self._engine = SleepEngine(self._scheduler, self.settings, time.monotonic, loop.call_later, self._deliver)

    def close(self) -> None:
        """Be ready no more."""
        self._ready_at = float("inf")

    def _healthz(self, exchange: Exchange) -> None:
        wait = self._ready_at - time.monotonic()
        body = {"status": "ok" if wait <= 0 else "starting", "worker": self.name}
        exchange.respond(200 if wait <= 0 else 503, json.dumps(body).encode())

    def _chat(self, exchange: Exchange) -> None:
        if time.monotonic() < self._ready_at:
            self._reject(exchange, 503, "starting", f"{self.name} is starting up; ask /healthz when it is ready")
            return
        try:
            request = openai.ChatRequest(exchange.body)
        except InputError as error:
            self._reject(exchange, 400, "malformed", str(error))
        else:
            self._submit(exchange, request)

    def _submit(self, exchange: Exchange, request: openai.ChatRequest) -> None:
        tokens = request.max_tokens or self.settings.default_max_tokens
        number = f"{self._prefix}{next(self._numbers):x}"
        generation = Generation(exchange, request, tokens, number, self._label)
        exchange.on_gone = lambda: self._cancel(generation)
        try:
            self._engine.submit(generation)
        except TooLong:
            asked, allowed = request.prompt_tokens + tokens, self.settings.kv_capacity
            self._reject(exchange, 400, "too_long", f"asked {asked} tokens (prompt and output), allowed: {allowed}")
        except QueueFull:
            waiting = f"{self.name}: {self.settings.max_waiting} requests are waiting already; try again later"
            self._reject(exchange, 503, "queue_full", waiting)

    def _reject(self, exchange: Exchange, status: int, reason: str, message: str) -> None:
        self._rejected[reason] += 1
        again = "retry-after: 1\r\n" if status == 503 else ""
        refuse(exchange, status, message, again + f"x-worker: {self.name}\r\n")

    def _cancel(self, generation: Generation) -> None:
        self._scheduler.cancel(generation)
        self._aborted += 1

    def _deliver(self, batch: list[Sequence]) -> None:
        self._steps += 1
        self._generated_tokens += len(batch)
        now = time.monotonic()
        for sequence in batch:
            if sequence.finished:
                self._count(sequence, now)
            assert isinstance(sequence, Generation)
            sequence.deliver()

    def _count(self, sequence: Sequence, now: float) -> None:
        self._finished += 1
        self._prompt_tokens += sequence.prompt_tokens
        self._queued.observe(sequence.admitted - sequence.arrived)
        self._first_token.observe(sequence.first_token - sequence.arrived)
        self._latency.observe(now - sequence.arrived)

    def metrics(self) -> bytes:
        """Return the page of `/metrics`."""
        page = Page({"engine": "0", "model_name": MODEL, "worker": self.name})
        scheduler, settings = self._scheduler, self.settings
        page.gauge("vllm:num_requests_running", "Sequences in the batch.", ({}, len(scheduler.running)))
        page.gauge("vllm:num_requests_waiting", "Sequences waiting for admission.", ({}, len(scheduler.waiting)))
        usage = scheduler.kv_tokens / settings.kv_capacity
        page.gauge("vllm:kv_cache_usage_perc", "KV cache in use; 1 is full.", ({}, usage))
        page.counter("vllm:num_preemptions_total", "Sequences preempted.", ({}, scheduler.preemptions))
        page.counter("vllm:prompt_tokens_total", "Prompt tokens of finished requests.", ({}, self._prompt_tokens))
        page.counter("vllm:generation_tokens_total", "Tokens generated.", ({}, self._generated_tokens))
        ends = ({"finished_reason": "length"}, self._finished), ({"finished_reason": "abort"}, self._aborted)
        page.counter("vllm:request_success_total", "Requests that left the engine, by how.", *ends)
        page.histogram("vllm:time_to_first_token_seconds", "From arrival to the first token.", self._first_token)
        page.histogram("vllm:e2e_request_latency_seconds", "From arrival to the last token.", self._latency)
        page.histogram("vllm:request_queue_time_seconds", "From arrival to admission.", self._queued)
        page.counter("appliance_engine_steps_total", "Steps of the engine.", ({}, self._steps))
        rejected = [({"reason": reason}, number) for reason, number in self._rejected.items()]
        page.counter("appliance_requests_rejected_total", "Requests that never entered the engine.", *rejected)
        page.process()
        return page.encode()
