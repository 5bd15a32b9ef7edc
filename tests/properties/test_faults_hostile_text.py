"""Text from an experiment reaches a shell as one word, or not at all."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from ipaddress import ip_address

from hypothesis import example, given, settings
from hypothesis import strategies as st

from chaos.contracts import LinkState, PlantQdisc, UprootQdisc
from chaos.faults.process_kill import ProcessKill, Seen
from chaos.kernel import AtRoot, Flow, Process, Qdisc
from chaos.targets import _tc
from chaos.testing import FakeTarget

HOST = FakeTarget()
SH = shutil.which("sh") or "/bin/sh"
SSH = Flow(ip_address("192.0.2.1"), 22)
NETEM = Qdisc("netem", options={"delay": 0.05})
HOSTILE = st.text(st.sampled_from("ab'\"$(){}`;&|<>\\ \n\t*?~#!-=%é"), min_size=1, max_size=40)
PROOF = "spy() { for a; do printf '%s\\036' \"$a\"; done; printf '\\035'; }\n"


def words_of(script: str) -> list[list[str]]:
    """The argv of each `tc` that a script runs: real sh runs it, `tc` is a function that only notes them."""
    spied = PROOF + 'tc() { spy tc "$@"; }\n' + script
    done = subprocess.run([SH, "-c", spied], capture_output=True, check=True, env={"PATH": "/nowhere"})
    return [call.split("\x1e")[:-1] for call in done.stdout.decode().split("\x1d")[:-1]]


@given(HOSTILE)
@example("$(touch /tmp/x)")
@example("a'; reboot; '")
@settings(max_examples=60, deadline=None)
def test_an_interface_is_one_word_of_every_command(interface: str) -> None:
    plant = _tc.plant(PlantQdisc(interface, NETEM, (SSH,), AtRoot(None))).do
    plain = _tc.plant(PlantQdisc("eth0", NETEM, (SSH,), AtRoot(None))).do
    assert words_of(plant) == [[interface if word == "eth0" else word for word in call] for call in words_of(plain)]


@given(HOSTILE)
@settings(max_examples=60, deadline=None)
def test_an_interface_does_not_change_the_tokens(interface: str) -> None:
    former = Qdisc("fq_codel", "8001:", words=("limit", "5"))
    for restore in (None, former):
        hostile, plain = (_tc.uproot(UprootQdisc(name, AtRoot(restore))) for name in (interface, "eth0"))
        for text, model in ((hostile.do, plain.do), (hostile.until, plain.until)):
            expected = [interface if token == "eth0" else token for token in tokens(model)]
            assert tokens(text) == expected


def tokens(script: str) -> list[str]:
    lexer = shlex.shlex(script, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    return list(lexer)


@given(HOSTILE)
@settings(max_examples=40, deadline=None)
def test_reading_an_interface_is_sh_whatever_its_name(interface: str) -> None:
    script = _tc.link_script(interface)
    done = subprocess.run(["sh", "-n", "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not HOST.ask(LinkState(interface)).exists


@given(HOSTILE)
@settings(max_examples=40, deadline=None)
def test_a_command_line_is_one_word_of_the_condition(command: str) -> None:
    """The command lines on a host are somebody else's text."""
    fault = ProcessKill(match="x")
    (action,) = map(HOST.render, fault.revert(Seen((Process(7, 70, "S", command),))))
    *_, call = action.until.partition("}\nruns ")
    assert shlex.split(call) == [command, "1"]


@given(HOSTILE)
def test_a_pattern_never_reaches_the_host(pattern: str) -> None:
    fault = ProcessKill.model_construct(match=pattern, signal="KILL", every=None, restart="")
    before = Seen((Process(7, 70, "S", "sleep 9"),))
    scripts = [HOST.render(action) for action in (*fault.apply(before), *fault.revert(before))]
    plain = ProcessKill(match="x")
    assert scripts == [HOST.render(action) for action in (*plain.apply(before), *plain.revert(before))]
    assert fault.reading().questions == plain.reading().questions
