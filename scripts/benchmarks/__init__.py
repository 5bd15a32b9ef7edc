"""The project's figures, measured side by side with its peers in one run; `scripts/bench` starts it.

    figures     what is measured, what it must reach, and the verdict
    machine     two cores that share nothing, the versions of everything, how busy the machine was
    processes   a process pinned to a core, ended by its id whatever happens
    servers     nginx and the chat server, on loopback
    peers       the other clients and how each says what it reached (`outputs` reads it)
    closed_loop, locustfile, chat_server    what runs in processes of its own
    load        one open-loop load of `probes`, and what its samples say
    search      the highest rate that is sustained
    rounds      A B C, A B C, ...: ratios within a round, their median and spread
    commands, fleet_clients    what a fleet sends to its hosts, noted, and sent by other clients
    kernel_times    when filters came to be in the hosts' kernels
    rate transport steadiness streams memory fleet    one benchmark each
    page        the results as Markdown

Everything is measured on one core, with the server on another. Machines are noisy and differ: what counts is the ratio
of two clients within a round, a few seconds apart on the same cores; absolute figures stand beside it. What our load
reached is computed from the rows it wrote, never taken from what it says of itself.
"""
