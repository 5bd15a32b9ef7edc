"""The reference appliance: a small LLM-inference service that the lab serves and the experiments break.

    client --> gateway --> worker (continuous batching)        each a process of its own, under a supervisor

Takes HTTP/1.1 (`POST /v1/chat/completions`, plain and streamed) and gives answers that cost real processes, sockets and
time. `chaos.lab` starts it as `python -m chaos.lab.appliance worker|gateway|supervise`; nothing imports it.

The decision a reader would question: it speaks HTTP by itself (asyncio.Protocol and httptools) and imports little but
the standard library, because it also runs in guests under software emulation, where an import costs twenty times more
and a web framework would be the bottleneck that the experiments then measure.
"""
