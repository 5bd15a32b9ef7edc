"""Power by Redfish and by IPMI, against real services; and a fuse that gives it back when the run is dead."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from chaos.contracts import SwitchPower
from chaos.errors import CommandFailed, Refusal
from chaos.faults.node_kill import NodeKill
from chaos.run.connect import controller, target_of
from chaos.run.fuse import Fuse, Undo
from chaos.spec.inventory import Host, load_inventory
from chaos.targets.local import LocalTarget
from chaos.targets.power import PowerController
from tests.unit.targets.power_controllers import PASSWORD, SYSTEM, USER, ipmi, redfish, runs, wait_until

IPMI_PASSWORD = "se$(id)c'ret"  # at most 16 bytes (IPMI 2.0, 22.30)
needs_ipmi = pytest.mark.skipif(not shutil.which("ipmi_sim"), reason="needs openipmi and ipmitool")


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)
    monkeypatch.setenv("IPMI_SECRET", IPMI_PASSWORD)


def reaches(power: PowerController, on: bool) -> None:
    wait_until(lambda: power.is_on() is on)


def by_redfish(url: str, folder: Path, system: str | None = None, user: str = USER) -> PowerController:
    return PowerController.by_redfish("worker", url, user, "BMC_PASSWORD", system, str(folder / "ca.pem"))


def test_redfish_switches_and_reads_and_may_be_asked_twice(tmp_path: Path) -> None:
    with redfish(tmp_path) as url:
        power = by_redfish(url, tmp_path)
        assert power.is_on()
        for to in (False, True):
            power.switch(to)
            reaches(power, to)
            power.switch(to)
            assert power.is_on() is to


def test_redfish_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = ("27946b59-9e44-4fa7-8e91-f3527a1ef095", "worker-2")
    with redfish(tmp_path, ((SYSTEM, "worker-1"), second)) as url:
        assert by_redfish(url, tmp_path, second[0]).is_on()
        with pytest.raises(CommandFailed, match=f"wanted exactly one.*has the systems {SYSTEM}, {second[0]}"):
            by_redfish(url, tmp_path).is_on()
        with pytest.raises(CommandFailed, match="wanted one called 'nobody'"):
            by_redfish(url, tmp_path, "nobody").switch(False)
        with pytest.raises(CommandFailed, match="CERTIFICATE_VERIFY_FAILED"):
            PowerController.by_redfish("worker", url, USER, "BMC_PASSWORD", SYSTEM, None).is_on()
        with pytest.raises(CommandFailed, match=r"refuses this user and password \(401\)") as refused:
            by_redfish(url, tmp_path, user="nobody").is_on()
        assert PASSWORD not in str(refused.value)
        monkeypatch.delenv("BMC_PASSWORD")
        with pytest.raises(CommandFailed, match="BMC_PASSWORD is not set"):
            by_redfish(url, tmp_path).is_on()


@needs_ipmi
def test_ipmi_ends_and_starts_a_machine_and_may_be_asked_twice(tmp_path: Path) -> None:
    with ipmi(tmp_path, IPMI_PASSWORD) as (port, machine):
        power = PowerController.by_ipmi("worker", "127.0.0.1", port, USER, "IPMI_SECRET", 3)
        assert (power.is_on(), runs(machine)) == (True, True)
        for to in (False, True):
            power.switch(to)
            reaches(power, to)
            assert runs(machine) is to
            power.switch(to)
            assert power.is_on() is to
        with pytest.raises(CommandFailed, match="Unable to establish IPMI") as refused:
            PowerController.by_ipmi("worker", "127.0.0.1", port, "nobody", "IPMI_SECRET", 3).is_on()
        assert IPMI_PASSWORD not in str(refused.value)


@needs_ipmi
def test_a_fuse_gives_the_power_back_without_the_run_and_its_secret_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ipmi(tmp_path, IPMI_PASSWORD) as (port, machine):
        power = PowerController.by_ipmi("worker", "127.0.0.1", port, USER, "IPMI_SECRET", 3)
        fuse = armed(LocalTarget("worker", None, power), tmp_path / "home")
        secret = Path(fuse.folder) / "secret.IPMI_SECRET"
        assert secret.read_text() == IPMI_PASSWORD
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert IPMI_PASSWORD not in fuse.undo.do + fuse.undo.clean
        power.switch(False)
        monkeypatch.delenv("IPMI_SECRET")  # whoever has this environment is dead
        wait_until(lambda: not runs(machine))
        wait_until(lambda: runs(machine))
        wait_until(lambda: fuse.state().startswith("clean"))
        fuse.disarm()
        assert not secret.exists()


def armed(host: LocalTarget, home: Path) -> Fuse:
    """A fuse on this machine whose lease nobody renews."""
    undo = Undo.of(host.render(action) for action in (SwitchPower(on=True),))
    fuse = Fuse(controller(), "f-0", undo, lease=2.0, ttl=60, home=str(home))
    fuse.arm()
    return fuse


def test_an_inventory_gives_each_kind_and_a_missing_password_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inventory.yaml").write_text(
        "defaults: {connection: local}\nhosts:\n"
        "  a: {power: {kind: redfish, url: https://bmc-1, user: ops, password_env: BMC_PASSWORD, ca: ca.pem}}\n"
        "  b: {power: {kind: ipmi, address: bmc-2, user: ops, password_env: IPMI_SECRET, cipher_suite: 17}}\n"
    )
    hosts = load_inventory(tmp_path / "inventory.yaml").hosts
    switched = {name: undo_of(host) for name, host in hosts.items()}
    assert (
        f"chaos.targets.redfish https://bmc-1 --user ops --password-env BMC_PASSWORD --ca {tmp_path}/ca.pem on"
        in switched["a"]
    )
    assert (
        'IPMI_PASSWORD="$IPMI_SECRET" ipmitool -I lanplus -H bmc-2 -p 623 -U ops -E -L OPERATOR -C 17' in switched["b"]
    )
    monkeypatch.delenv("IPMI_SECRET")
    with pytest.raises(Refusal, match=r"b: the inventory takes its password from \$IPMI_SECRET, which is not set"):
        undo_of(hosts["b"])


def undo_of(host: Host) -> str:
    fault = NodeKill()
    [action] = fault.revert(fault.typical())
    name = "a" if host.power and host.power.kind == "redfish" else "b"
    return target_of(name, host).render(action).do
