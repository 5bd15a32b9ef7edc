"""The only room with effects: it takes a plan, acts on hosts, and leaves a recording.

runner     the timeline: connect, prepare, load, faults at their times, stop          calls everything below
injector   one fault on one host, in the one order that is safe
fuse       the undo that stands on the host before the fault does (fuse.sh is the program there)
lock       one controller a host
ledger     each undo on this machine's disk before its fault, so that `heal` can finish what a crash left
health     the probes beside the load, in a process of their own
abort      conditions on the live counters
heal       finish open undos, from ledgers and from the hosts' own fuses
"""
