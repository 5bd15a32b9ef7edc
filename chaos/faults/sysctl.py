"""sysctl: settings of the running kernel, below /proc/sys (proc(5), sysctl(8)), changed for a while.

What was read is written back to the letter. A key is objected to where that can't be had: one that is not there, that
can't be read (a trigger such as vm.drop_caches) or written, that holds more than a line, or that reads otherwise from
one moment to the next (a counter); one that can't be set back, that changes others with it, or that names a program.
Of some keys only one of two is in force, and setting it clears the other (vm.dirty_ratio and vm.dirty_bytes): the other
is read as well, and the undo sets the one that was in force.

A setting bears no mark: with its ledger and its fuse lost, nobody can know of it. A reboot undoes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from chaos.contracts import Action, ControlPath, Dose, Fault, Output, Reading, Shell

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:@-]*([./][A-Za-z0-9_][A-Za-z0-9_:@-]*)+")
_SECTION = re.compile(r"^== (\S+) (\S+)\n", re.MULTILINE)
_WRITABLE = re.compile(r"[2367]..w")

_FINAL = (
    (
        r"kernel\.(modules_disabled|kexec_load_disabled|unprivileged_bpf_disabled|yama\..*)",
        "the kernel may not let it be set back",
    ),
    (
        r"net\.ipv4\.ip_forward|net\.ipv[46]\.conf\.(all|default)\.forwarding|net\.ipv6\.conf\.all\..*"
        r"|net\.ipv6\.conf\..*\.(disable_ipv6|addr_gen_mode|stable_secret)",
        "setting it changes other settings, or addresses, with it",
    ),
    (
        r"kernel\.(core_pattern|modprobe|hotplug|poweroff_cmd|usermodehelper\..*)|fs\.binfmt_misc\..*",
        "it names a program that the kernel runs as root",
    ),
)
_DANGEROUS = (
    (
        r".*panic.*|kernel\.(sysrq|.*watchdog.*|softlockup.*|hung_task_.*)",
        "it may take the host down",
    ),
    (
        r"kernel\.(pid_max|threads-max)|fs\.(file-max|nr_open|mount-max)|vm\.(min_free_kbytes|.*hugepages.*"
        r"|overcommit_.*|.*_reserve_.*|watermark_.*|max_map_count)",
        "it may leave no memory, process or file to sshd and to the fuse",
    ),
    (
        r"net\.ipv4\.(conf\..*\.(rp_filter|arp_.*|forwarding)|ip_default_ttl|(tcp|udp)_(mem|rmem|wmem)(_min)?)"
        r"|net\.ipv[46]\.neigh\..*|net\.ipv6\.conf\..*",
        "it may cut the controller's own connection",
    ),
)
_PAIRS = (
    ("vm.dirty_ratio", "vm.dirty_bytes"),
    ("vm.dirty_background_ratio", "vm.dirty_background_bytes"),
    ("vm.overcommit_ratio", "vm.overcommit_kbytes"),
)
_OTHER = dict(_PAIRS) | {second: first for first, second in _PAIRS}


def _key(value: str) -> str:
    if not _KEY.fullmatch(value):
        raise ValueError(f"{value!r} is no sysctl; write it as sysctl(8) prints it, like net.core.somaxconn")
    # sysctl(8): either separator may be used, and the one that stands first is the separator
    first = next(c for c in value if c in "./")
    return value if first == "." else value.translate(_SWAPPED)


_SWAPPED = str.maketrans("./", "/.")


def _text(value: Any) -> Any:
    """A number of YAML is as good as its digits."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Key = Annotated[str, AfterValidator(_key)]
Value = Annotated[
    str,
    BeforeValidator(_text),
    StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$"),
]


@dataclass(frozen=True)
class Setting:
    """One key as it was read; the value is None where there is none to read. `why_not`: why it can't be set."""

    value: str | None
    why_not: str = ""


Settings = dict[str, Setting]


class Sysctl(Fault[Settings]):
    """Set parameters of the running kernel, for a while."""

    kind: ClassVar[str] = "sysctl"
    example: ClassVar[str] = "{kind: sysctl, on: worker-1, for: 20s, values: {net.core.somaxconn: 16}}"
    release: ClassVar[str] = (
        "none of its own: what the kernel did by the setting (a queue, a connection) stays as it is"
    )
    shade: ClassVar[str] = "#4f8a8b"

    values: dict[Key, Value] = Field(
        description="each key as sysctl(8) prints it, and its value; several numbers in one text", min_length=1
    )
    dangerous: bool = Field(False, description="also keys that may take the host down or cut the controller off")

    def reading(self) -> Reading[Settings]:
        """Ask for each key, and for the one that it would clear; the control path is proved after applying."""
        files = " ".join(quote(_path(key)) for key in self._touched())
        return Reading((Output(_READ.format(files=files)), ControlPath()), lambda said, _: _parse(said))

    def objection(self, before: Settings) -> str | None:
        """Object to the first key that can't be set and put back, or that is dangerous and not asked for as such."""
        return next(filter(None, (self._objection(key, before[key]) for key in self.values)), None)

    def apply(self, before: Settings) -> list[Action]:
        """Write each; what the kernel refuses ends it."""
        del before
        return [Shell(_PUT + " &&\n".join(_put(key, value) for key, value in self.values.items()))]

    def revert(self, before: Settings) -> list[Action]:
        """Write back what was read, each whatever becomes of the others."""
        former = {key: setting.value or "" for key, setting in before.items() if not _is_off(key, before)}
        puts = "\n".join(f"{_put(key, value)} || failed=1" for key, value in former.items())
        until = " &&\n".join(f'[ "$(cat {quote(_path(key))})" = {quote(value)} ]' for key, value in former.items())
        return [Shell(f'{_PUT}failed=\n{puts}\n[ -z "$failed" ]', until=until)]

    def is_applied(self, before: Settings, now: Settings) -> bool:
        """Each reads as asked; the kernel sets numbers apart by tabs."""
        del before
        return self._held(now) == len(self.values)

    def is_reverted(self, before: Settings, now: Settings) -> bool:
        """Each reads as it did, and so does what it would clear."""
        return all(now[key].value == setting.value for key, setting in before.items())

    def typical(self) -> Settings:
        """Each holds as many numbers as it is given, or a word."""
        return {key: Setting(" ".join(_likeness(value))) for key, value in self.values.items()}

    def asked(self) -> dict[str, float]:
        """All of them."""
        return {"set": 1.0}

    def dose(self, before: Settings, now: Settings) -> Dose:
        """Return the share that still reads as asked: a daemon may keep its own settings."""
        del before
        held, count = self._held(now), len(self.values)
        lost = ", ".join(key for key, value in self.values.items() if not _same(now[key], value))
        return Dose({"set": held / count}, held == count, f"no longer as asked: {lost}" if lost else "")

    def _held(self, now: Settings) -> int:
        return sum(_same(now[key], value) for key, value in self.values.items())

    def _touched(self) -> Iterator[str]:
        for key in self.values:
            yield key
            if _OTHER.get(key, key) not in self.values:
                yield _OTHER[key]

    def _objection(self, key: str, found: Setting) -> str | None:
        for pattern, why in _FINAL if self.dangerous else (*_FINAL, *_DANGEROUS):
            if re.fullmatch(pattern, key):
                hint = "" if (pattern, why) in _FINAL else "; `dangerous: true` sets it all the same"
                return f"{key}: {why}{hint}"
        if found.value is None or found.why_not:
            return f"{key}: {found.why_not or 'there is no such key'}"
        former, wanted = found.value.split(), self.values[key].split()
        if _are_numbers(former) and (not _are_numbers(wanted) or len(former) != len(wanted)):
            return f"{key}: {self.values[key]!r} was asked for where it holds {len(former)} number(s): {found.value!r}"
        return f"{key}: it reads {found.value!r} already" if former == wanted else None


_READ = """for file in {files}; do
    [ -f "$file" ] || {{ echo "== $file none"; continue; }}
    [ -w "$file" ] && w=w || w=
    echo "== $file $(stat -c %a "$file")$w"
    cat "$file" || continue
    echo --
    cat "$file"
done 2>/dev/null; true"""

_PUT = """put() { printf '%s\\n' "$2" | tee "$1" >/dev/null; }
"""


def _put(key: str, value: str) -> str:
    return f"put {quote(_path(key))} {quote(value)}"


def _path(key: str) -> str:
    return "/proc/sys/" + key.translate(_SWAPPED)


def _parse(said: str) -> Settings:
    _, *parts = _SECTION.split(said)
    files, modes, bodies = parts[::3], parts[1::3], parts[2::3]
    keys = [file.removeprefix("/proc/sys/").translate(_SWAPPED) for file in files]
    return {key: _setting(mode, body) for key, mode, body in zip(keys, modes, bodies, strict=True)}


def _setting(mode: str, body: str) -> Setting:
    if mode == "none":
        return Setting(None)
    first, again, second = body.partition("--\n")
    value = first.removesuffix("\n")
    if not again:
        return Setting(None, "it can't be read, so it could not be put back")
    if not _WRITABLE.fullmatch(mode.zfill(3)):
        return Setting(value, "it can't be written")
    if "\n" in value or not value.strip():
        return Setting(value, "it holds a table or nothing, which could not be put back")
    return Setting(value, "" if first == second else "it changes by itself, so nobody could tell that it is as it was")


def _is_off(key: str, settings: Settings) -> bool:
    """Whether the other of its pair is in force; then setting that one clears this."""
    return key in _OTHER and settings[key].value == "0" != settings[_OTHER[key]].value


def _same(setting: Setting, value: str) -> bool:
    return (setting.value or "").split() == value.split()


def _are_numbers(words: list[str]) -> bool:
    return all(re.fullmatch(r"-?\d+", word) for word in words)


def _likeness(value: str) -> list[str]:
    """Words that are something else, and of the same sort."""
    words = value.split()
    return [str(int(word) + 1) for word in words] if _are_numbers(words) else ["former"]
