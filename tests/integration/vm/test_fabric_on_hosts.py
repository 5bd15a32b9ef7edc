"""The fabric's faults on VM hosts, whose kernel has what they need: silent drops, pauses, soft RoCE, Ethernet pause."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace

from chaos.contracts import Target
from chaos.faults.netem import Netem
from chaos.faults.pause import Pause
from chaos.faults.shallow_buffer import ShallowBuffer
from chaos.run.injector import read
from tests.integration.vm.netem_doses import wired
from tests.integration.vm.soft_roce import soft_roce

RATE = {"interface": "data0", "rate": "800kbit"}
# how many of the datagrams the kernel said that it could not send (IP_RECVERR has it say so)
REFUSED = """
import errno, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 11, 1)
refused = 0
for _ in range(200):
    try:
        s.sendto(bytes(958), ("192.0.2.2", 9))
    except OSError as error:  # it also tells what comes back: nobody listens there
        refused += error.errno == errno.ENOBUFS
print(refused)
"""


def test_a_sender_is_not_told_of_what_a_shallow_buffer_drops(worker: Target) -> None:
    """Beside the interface's own queueing, and at the root, where a kernel can make no ifb; a plain tbf there tells."""
    fault = ShallowBuffer.model_validate({**RATE, "buffer": "20kB"})
    with wired(worker):
        worker.run("tc qdisc add dev data0 root tbf rate 800kbit burst 10k limit 20k")
        assert refused(worker) > 50
        worker.run("tc qdisc del dev data0 root")
        seen = read(worker, fault.reading())
        for before in (seen, replace(seen, link=replace(seen.link, has_ifb=False))):
            for action in fault.apply(before):
                worker.perform(action)
            assert refused(worker) == 0
            now = read(worker, fault.reading())
            assert fault.is_applied(before, now)
            assert fault.dose(before, now).achieved["dropped"] > 50
            for action in fault.revert(before) * 2:
                worker.perform(action)
            assert fault.is_reverted(before, read(worker, fault.reading()))


def refused(host: Target) -> int:
    return int(host.run(f"{sys.executable} -S -c {shlex.quote(REFUSED)}").stdout)


def test_loss_collapses_soft_roce_and_netem_passes_it(worker: Target, gateway: Target) -> None:
    """Two in a hundred packets lost; RoCE goes back to each, and sends all again that it had sent since.

    On a machine that is busy an acknowledgement may come so late that calm messages are sent twice: the queue pairs are
    patient, and it is measured again.
    """
    fault = Netem.model_validate({"interface": "eth1", "loss": "2%", "protocols": ["udp"], "ports": [4791]})
    with soft_roce(worker, gateway, patience=17) as roce:
        for _ in range(3):
            calm = roce.write(10)
            lossy, dose = roce.write_under(fault, 10)
            if lossy.packets_per_needed > 1.3 * calm.packets_per_needed:
                break
    assert lossy.packets_per_needed > 1.3 * calm.packets_per_needed
    assert lossy.megabytes_per_second < calm.megabytes_per_second / 1.3
    assert dose.confirmed
    assert dose.achieved["packets"] > 10 * 64, "it passes netem"


def test_ethernet_pause_of_a_real_driver(worker: Target) -> None:
    """The NIC is emulated, the driver is Intel's own; virtio has no pause parameters."""
    device = worker.run(
        "modprobe e1000e; for n in /sys/class/net/*; do case $(readlink $n/device/driver) in *e1000e) "
        "echo ${n##*/};; esac; done"
    ).stdout.strip()
    shown = f"ethtool -a {device}"
    try:
        worker.run(f"ip link set {device} up")
        text = worker.run(shown).stdout
        fault = Pause(interface=device, autoneg=False, rx=False, tx=False)
        before = read(worker, fault.reading())
        assert fault.objection(before) is None
        [do], [undoing] = fault.apply(before), fault.revert(before)
        worker.perform(do)
        assert fault.dose(before, read(worker, fault.reading())).achieved == {"autoneg": 0, "rx": 0, "tx": 0}
        assert fault.objection(read(worker, fault.reading())) is not None
        for _ in range(2):
            worker.perform(undoing)
            assert worker.run(worker.render(undoing).until, check=False).status == 0
        assert worker.run(shown).stdout == text
    finally:
        worker.run("modprobe -r e1000e")
    for interface, says in (("eth1", "has no pause parameters"), ("eth9", "there is no interface eth9")):
        other = Pause(interface=interface, rx=True)
        assert says in (other.objection(read(worker, other.reading())) or "")
