"""Fault, LoadChange, Reading, Action, Target: the page to read first.

A *fault* is its parameters. The frozen model that validates the YAML is the object that acts, by six pure methods:
it says what to ask the host, whether it objects to what it sees, what to do, how to undo it, and how to tell from a
later reading that each took effect. It never does anything itself.

A *target* is a host within reach. It answers questions and performs actions; nothing else in this package touches a
host. Questions and actions are data. Most are a line of POSIX sh; the others name an object of the kernel, which one
target renders as `tc` and another as netlink messages.

A *change of the load* is a fault of no host: more requests, or others, laid over the load's schedule for a while.

The *injector* (`chaos.run.injector`) owns the order: lock, read, objection, ledger, fuse, apply, read, hold, revert,
read, disarm. So no author of a fault can get it wrong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from chaos.kernel import IMPAIRMENT, ROOT, SILENCED, SILENCER, Beside, Ets, Flow, Pfc, Place, Qdisc
from chaos.overlays import LoadView, Overlay, Sent
from chaos.selection import EVERYTHING, FAMILIES, Selection, Steer

S = TypeVar("S")


# --- questions: what can be asked of a host ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Output:
    """Ask for the standard output of a sh script that only looks (str)."""

    script: str


@dataclass(frozen=True, slots=True)
class LinkState:
    """Ask for an interface with its qdiscs, classes and filters (`kernel.Link`)."""

    interface: str


@dataclass(frozen=True, slots=True)
class DcbState:
    """Ask for the data centre bridging of an interface (`kernel.Dcb`)."""

    interface: str


@dataclass(frozen=True, slots=True)
class ControlPath:
    """Ask which flows carry this very connection (tuple of `kernel.Flow`; empty where no network is between)."""


@dataclass(frozen=True, slots=True)
class PowerState:
    """Ask the power controller whether the host is on, and the host whether it answers (`Power`)."""


@dataclass(frozen=True, slots=True)
class Power:
    """The answer to `PowerState`. `boot` is the kernel's boot id, empty while the host does not answer."""

    on: bool
    answers: bool
    boot: str = field(default="", compare=False)


Question = Output | LinkState | DcbState | ControlPath | PowerState


@dataclass(frozen=True)
class Reading(Generic[S]):
    """Questions, and how to make one state of their answers (in the same order)."""

    questions: tuple[Question, ...]
    parse: Callable[..., S]


# --- actions: what can be done to a host ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shell:
    """Run a sh script. It must be repeatable: doing it twice is the same as once.

    `until` is a sh condition that is true once the script has had its effect; an undo needs one, since the fuse on the
    host believes a reading and not an exit status.
    """

    script: str
    until: str = "true"


@dataclass(frozen=True, slots=True)
class PlantQdisc:
    """Have `impairment` hold the packets of an interface that are `towards` somebody (all of them where it is empty).

    The `exempt` flows pass it by. What comes in can be held, and some packets selected, only beside the interface. With
    `silent`, whoever sends is not told of what the impairment drops, as little as of what a switch drops.
    """

    interface: str
    impairment: Qdisc
    exempt: tuple[Flow, ...]
    place: Place
    towards: tuple[Selection, ...] = ()
    silent: bool = False

    def qdiscs(self, parent: str = ROOT) -> tuple[Qdisc, ...]:
        """What is made under `parent`, with handles of ours: the outermost first."""
        if not self.silent:
            return (replace(self.impairment, handle=IMPAIRMENT, parent=parent),)
        below = replace(self.impairment, handle=SILENCED, parent=f"{IMPAIRMENT}1")
        return (replace(SILENCER, parent=parent), below)

    @property
    def steers(self) -> tuple[Steer, ...]:
        """The filters in the hook, in their order: the exempt flows first, which pass; none where it has the root."""
        if not isinstance(self.place, Beside):
            return ()
        place, (v4, v6, last) = self.place, self.place.preferences

        def steer(chosen: Selection, device: str) -> Steer:
            preference = v4 if chosen.version == 4 else v6
            return Steer(place.hook, preference, FAMILIES[chosen.version], chosen.keys(place.hook), device)

        spared = [steer(flow.selection, "") for flow in dict.fromkeys(self.exempt)]
        everything = Steer(place.hook, last, "all", EVERYTHING, place.device)
        return (*spared, *([steer(chosen, place.device) for chosen in self.towards] or [everything]))


@dataclass(frozen=True, slots=True)
class UprootQdisc:
    """Take the impairment away; `patience` is how long the packets it still holds may take to be sent, in s.

    With `tables` also what was laid down for making it, if it was cut off before it had cleaned up.
    """

    interface: str
    place: Place
    patience: float = 0.0
    tables: bool = False


@dataclass(frozen=True, slots=True)
class SetDcb:
    """Set which priorities of an interface pause, or how its traffic classes share; the rest of its DCB stays."""

    interface: str
    wanted: Pfc | Ets


@dataclass(frozen=True, slots=True)
class SwitchPower:
    """Cut or give power through the inventory's power controller."""

    on: bool


Action = Shell | PlantQdisc | UprootQdisc | SetDcb | SwitchPower


@dataclass(frozen=True, slots=True)
class Staged:
    """An action in two parts, for a moment that is waited for, so that little is left to do at the moment itself.

    `ahead` is sh, and `first` are lines for `program`, without any effect of their own; `program`, started ahead as
    well, acts once it reads `line`, for which the lines before have made it ready.
    """

    ahead: str
    program: str
    first: str
    line: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """An action as sh: what to run, and the condition that is true once it had its effect."""

    do: str
    until: str
    staged: Staged | None = None
    """The same as `do`, where it can be had in parts."""
    secrets: tuple[str, ...] = ()
    """The environment variables that both need, whose values stand in neither."""


# --- the two parties --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command on a host came to."""

    status: int
    stdout: str
    stderr: str


class Target(Protocol):
    """One host within reach. Every method may raise `TargetError`; none retries an action."""

    name: str

    def run(self, script: str, *, check: bool = True, timeout: float = 30.0) -> Completed:
        """Run sh text as root. With `check`, a status other than 0 raises CommandFailed. `timeout` in s."""

    def ask(self, question: Question) -> Any:
        """Answer a question; the question's docstring names the type."""

    def ask_all(self, questions: Sequence[Question]) -> tuple[Any, ...]:
        """Answer several, in their order; those that are sh are asked by one command."""

    def perform(self, action: Action, gate: str = "") -> str:
        """Do it, and return what it said of itself (how many packets an undo dropped); mostly empty.

        `gate` is sh that the host comes to first, however late that is; where it exits, nothing is done.
        """

    def render(self, action: Action) -> Rendered:
        """Return the action as sh, for the fuse and for people; pure."""

    def probe_control_path(self) -> None:
        """Open a second connection beside the first and use it; raises Unreachable when it can't."""

    def close(self) -> None:
        """Let go of the connection."""


@dataclass(frozen=True, slots=True)
class HostView:
    """What the inventory says of a host that a fault may need to know before it is read."""

    name: str
    interface: str = ""
    has_power: bool = False
    peers: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """For each host and each group of the inventory: the numeric addresses of its hosts, by their names."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something a host must have; `check` is a sh condition, `package` is what a Debian host would install."""

    name: str
    check: str
    package: str


@dataclass(frozen=True, slots=True)
class Dose:
    """What a reading at the end of the hold shows: how much arrived, and whether it counts as applied at all."""

    achieved: Mapping[str, float]
    confirmed: bool
    why_not: str = ""


class Cause(BaseModel, ABC):
    """One kind of cause that a step of an experiment names: a `Fault` of hosts, or a `LoadChange`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    example: ClassVar[str] = ""
    """A step as it would stand in an experiment, in one line of YAML; `gameday catalog` shows it."""
    release: ClassVar[str] = "none"
    """What letting go itself does to the traffic; it is kept apart from recovery."""
    shade: ClassVar[str] = "#d9822b"
    """The colour of its band in a chart."""

    @property
    def lasts(self) -> bool:
        """Whether it is there for a while; one that is over once applied (a kill) needs no `for`."""
        return True


class LoadChange(Cause):
    """One kind of change of the load. Subclass it in a file of its own, set `kind`, and write the methods: no I/O."""

    @abstractmethod
    def overlay(self, load: LoadView) -> Overlay:
        """What it lays over the load, which is meant to be like this meanwhile. Raises `errors.Misfit`."""

    @abstractmethod
    def asked(self, load: LoadView) -> dict[str, float]:
        """The dose that is asked for, by name in SI units."""

    @abstractmethod
    def achieved(self, sent: Sent) -> dict[str, float]:
        """The dose that arrived, by the same names."""


class Fault(Cause, Generic[S]):
    """One kind of fault. Subclass it in a file of its own, set `kind`, and write the six methods: no I/O in any."""

    needs: ClassVar[tuple[Need, ...]] = ()
    undo_from: ClassVar[Literal["host", "controller"]] = "host"
    """Where the fuse stands: on the host, or on the controller's machine when the host itself goes down."""
    settle: ClassVar[float] = 5.0
    """How long after `revert` the host may take to read as it was, in s (a host that boots takes longer)."""

    @abstractmethod
    def reading(self) -> Reading[S]:
        """What to ask the host, and how to make a state of the answers."""

    @abstractmethod
    def objection(self, before: S) -> str | None:
        """Why not on this host, or None."""

    @abstractmethod
    def apply(self, before: S) -> list[Action]:
        """The actions that bring the fault about."""

    @abstractmethod
    def revert(self, before: S) -> list[Action]:
        """The actions that undo it; computed and written down before any of `apply` runs."""

    @abstractmethod
    def is_applied(self, before: S, now: S) -> bool:
        """Whether a reading shows the fault. `before` is given since what is gone (a process) shows only beside it."""

    @abstractmethod
    def is_reverted(self, before: S, now: S) -> bool:
        """Whether a reading shows the host as it was."""

    @property
    def persists(self) -> bool:
        """Whether what `apply` changes is still there after a reboot: its undo then runs at boot too."""
        return False

    def bind(self, host: HostView) -> Self:
        """Return a copy with the blanks filled from the inventory (an interface); called by the plan and by `check`.

        Raises `errors.Misfit` for a parameter that does not fit the inventory.
        """
        del host
        return self

    def among(self, others: Sequence[Fault[Any]], at: int) -> Self:
        """Return a copy that knows the faults planned for its host, of which it is the one `at`; called by the plan."""
        del others, at
        return self

    def clash(self, other: Fault[Any]) -> str | None:
        """Why another fault can't be on the same host at the same time, or None; called by the plan and by `check`."""
        del other
        return None

    def typical(self) -> S | None:
        """A state that a healthy host may show, so that a plan can print commands without one; None where none is."""
        return None

    def asked(self) -> dict[str, float]:
        """The dose that was asked for, by name in SI units."""
        return {}

    def dose(self, before: S, now: S) -> Dose:
        """Judge a reading taken at the end of the hold against what was asked."""
        return Dose(achieved={}, confirmed=self.is_applied(before, now))
