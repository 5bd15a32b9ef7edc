"""What of a host's state is compared whole, before and after a run: whatever differs is drift, and is named.

It is text, one fact a line with its section in front, so that a difference reads by itself. One script reads it all in
one round trip (fingerprint.sh); what its tools print is made into lines here. Left out is what changes by itself on a
host in use, and what no fault of ours touches:

    counters, lifetimes of addresses and routes, the elements of dynamic sets, kernel threads, the keys that stand in
    /proc/sys (a recording holds no secrets) and what there is no setting
    IPv6 routes that the kernel keeps with an address: it has them once no neighbour has claimed it (RFC 4862)
    rules in chains that a program keeps by itself (kube-proxy, Docker, CNI, Calico, Cilium, fail2ban)
    an interface to a container that came or went: its other end is in a network namespace, and it has no address
    a process that ended, began, or is younger than a second: whoever started it may be about to move it
    systemd's services that a timer starts, or that do their work and end, unless they failed; and those not enabled

A process that is there both times and is stopped, or has moved to another cgroup or other processors, is drift. So is a
sysctl that changed, though not one that came or went with its module.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources import files
from shlex import quote

from chaos.contracts import Target

_SCRIPT = files("chaos.run").joinpath("fingerprint.sh").read_text(encoding="utf-8")

_KEYED = ("link ", "process ", "sysctl ", "file ", "unit ")
"""Sections whose lines are `section key: value`, of which a changed value reads as one line."""
_COMPARED_IN_BOTH = ("process ", "sysctl ")

# what htb prints as an option and is a counter; and who holds a qdisc just now
_COUNTER = re.compile(r" direct_packets_stat \d+| refcnt \d+")
_PROGRAM_ID = re.compile(r" id \d+(?= (?:name|tag) )")  # of a BPF filter; its tag tells the program
_CLASSES = re.compile(r"class (?:htb|hfsc|prio|ets|drr|qfq|cbq) ")  # those of fq_codel and its kin are flows
_LIFETIME = re.compile(r"\\?\s+valid_lft.*| expires \S+| age \S+")
_PASSING = {"tentative", "optimistic", "deprecated"}  # states of an IPv6 address (ip-address(8))
_FOLLOWS = re.compile(r"(?:local|anycast) \S*:\S* .*table local proto kernel|.* proto redirect ")  # from an address
_LINK = re.compile(r"\d+: (\S+): <")
_ADDRESS = re.compile(r"\d+: (\S+) +inet6? ")
_RULE = re.compile(r"\d+:\t")
_KEPT = re.compile(r"(?:KUBE|DOCKER|CNI|CILIUM|OLD_CILIUM|cali|f2b)(?:-|_|$).*|kube-proxy|docker-bridges|f2b-table")
_CHAIN = re.compile(r"(?::|-A )(\S+) ")
_CONTAINER = re.compile(r"link ([^:@]+)\S*: .* link-netnsid ")
_TICKS = 100  # a second (USER_HZ, proc(5))
_NO_SETTING = re.compile(
    r"net\.(?:netfilter\.nf_conntrack_count|ipv[46]\.route\.flush|core\.netdev_rss_key"
    r"|ipv4\.tcp_fastopen_key|ipv6\.conf\..*\.stable_secret"
    r"|ipv4\.tcp_available_congestion_control|ipv4\.tcp_available_ulp|mptcp\.available_schedulers)"
    r"|kernel\.(?:random\..*|ns_last_pid|pty\.nr|tainted|cad_pid|hung_task_warnings|hung_task_detect_count"
    r"|perf_event_max_sample_rate|perf_cpu_time_max_percent|(?:msg|sem|shm)_next_id|sched_domain\..*|bpf_stats_enabled|spl\.kmem\..*)"
    r"|vm\.(?:stat_refresh|numa_stat|drop_caches|compact_memory)"
)
_FILE = """echo "@@ file"
for file in {paths}; do
    printf '%s: ' "$file"
    if [ -e "$file" ] || [ -L "$file" ]; then
        stat -c 'mode %a owner %u:%g %F' "$file" | tr '\\n' ' '
        sha256sum 2>/dev/null <"$file" | cut -d ' ' -f 1 | tr -d '\\n'
        command -v getfattr >/dev/null && getfattr -h -d -m - -e hex "$file" 2>/dev/null | while read -r line; do
            case $line in '' | '#'*) ;; *) printf ' %s' "$line" ;; esac
        done
        echo
    else echo absent; fi
done
"""


def fingerprint(target: Target, paths: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the host's state, sorted lines; `paths` are files of which mode, owner, content and xattrs count too."""
    listed = " ".join(map(quote, paths))
    printed = target.run(_SCRIPT + (_FILE.format(paths=listed) if listed else "")).stdout
    return lines_of(printed)


def lines_of(printed: str) -> tuple[str, ...]:
    """Make lines of what the script printed on the host."""
    return tuple(sorted(line for name, lines in _sections(printed) for line in _facts(name, lines)))


def drift(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    """Return what changed (`key: was X, is Y`), what was lost (`- `) and what is new (`+ `)."""
    passing = _containers(before) ^ _containers(after)
    before, after = _without(before, passing), _without(after, passing)
    lost, new = Counter(before) - Counter(after), Counter(after) - Counter(before)
    was, now = _values(lost), _values(new)
    changed = [f"{key}: was {was[key]}, is {now[key]}" for key in sorted(was.keys() & now.keys())]
    gone, come = ([line for line in sorted(side.elements()) if _counts(line, was, now)] for side in (lost, new))
    return [*changed, *(f"- {line}" for line in gone), *(f"+ {line}" for line in come)]


def _containers(lines: tuple[str, ...]) -> set[str]:
    """Return the interfaces whose other end is in a network namespace and that have no address but their own."""
    ends = {found[1] for line in lines if (found := _CONTAINER.match(line))}
    return ends - {line.split()[1] for line in lines if line.startswith("address: ") and " scope link" not in line}


def _without(lines: tuple[str, ...], devices: set[str]) -> tuple[str, ...]:
    """Leave out what is said of some interfaces."""
    if not devices:
        return lines
    named = "|".join(map(re.escape, devices))
    said = re.compile(
        rf"(?:link|filter) (?:{named})[:@]|address: (?:{named}) |(?:qdisc|route): .*\bdev (?:{named})(?: |$)"
    )
    return tuple(line for line in lines if not said.match(line))


def _values(lines: Iterable[str]) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines if line.startswith(_KEYED) and ": " in line)


def _counts(line: str, was: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether a line that only one side has is drift by itself."""
    key = line.split(": ", 1)[0]
    return not line.startswith(_COMPARED_IN_BOTH) and not (key in was and key in now)


def _sections(printed: str) -> Iterator[tuple[str, list[str]]]:
    for section in re.split(r"^@@ ", printed, flags=re.MULTILINE)[1:]:
        name, *lines = section.split("\n")
        yield name, [line for line in lines if line.strip() or name == "unit"]


def _facts(name: str, lines: list[str]) -> Iterable[str]:
    section, _, rest = name.partition(" ")
    if rest == "failed":
        return [f"{section}: can't be read"]
    return _READERS.get(section, _plain)(name, lines)


def _plain(name: str, lines: Iterable[str]) -> Iterator[str]:
    return (f"{name}: {line.rstrip()}" for line in lines)


def _qdiscs(_: str, lines: list[str]) -> Iterator[str]:
    return _plain("qdisc", (_COUNTER.sub("", line) for line in lines))


def _network(_: str, lines: list[str]) -> Iterator[str]:
    """Tell apart what one call of ip(8) printed: links, addresses, rules, routes; indexes are left out."""
    for line in lines:
        if found := _LINK.match(line):
            said = re.sub(r" qdisc \S+", "", line.split(": ", 2)[2])  # it has a line of its own
            yield f"link {found[1]}: {said.rstrip()}"
        elif _ADDRESS.match(line):
            words = _LIFETIME.sub("", line).split()[1:]
            if "temporary" not in words:  # of IPv6 privacy: one takes over from another (RFC 8981)
                yield f"address: {' '.join(word for word in words if word not in _PASSING)}"
        elif not _FOLLOWS.match(line):
            yield f"{'rule' if _RULE.match(line) else 'route'}: {_LIFETIME.sub('', line).rstrip()}"


def _filters(name: str, lines: list[str]) -> Iterator[str]:
    kept = (line for line in lines if not line.startswith("class ") or _CLASSES.match(line))
    return _plain(name, (_PROGRAM_ID.sub("", line) for line in kept))


def _nft(_: str, lines: list[str]) -> Iterator[str]:
    """Name each line's table and chain; left out are elements that traffic fills, and chains a program keeps."""
    return (line for line, names in _nft_lines(lines) if not any(_KEPT.fullmatch(name) for name in names))


def _nft_lines(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Return each line with the names of the table and the chain, set or map that it stands in."""
    place: list[str] = []
    passing = elements = False
    for line in (line.strip() for line in lines):
        if elements or (passing and line.startswith("elements = {")):
            elements = "}" not in line
        elif line.endswith("{") and " = " not in line:
            place, passing = [*place, line.removesuffix(" {")], False
        elif line == "}":
            yield f"nft: {' / '.join(place)}", _names(place)
            place = place[:-1]
        else:
            passing = passing or (line.startswith("flags") and ("dynamic" in line or "timeout" in line))
            yield f"nft: {' / '.join(place)}: {line}", _names(place)


def _names(place: list[str]) -> list[str]:
    return [words.split()[-1] for words in place]


def _iptables(name: str, lines: list[str]) -> Iterator[str]:
    kept = (line for line in lines if not line.startswith("#") and not _is_kept(line))
    return _plain(name, (re.sub(r"\[\d+:\d+\]", "", line) for line in kept))


def _is_kept(line: str) -> bool:
    chain = _CHAIN.match(line)
    return chain is not None and _KEPT.fullmatch(chain[1]) is not None


def _sysctls(_: str, lines: list[str]) -> Iterator[str]:
    for line in lines:
        path, colon, value = line.partition(":")
        name = path.removeprefix("/proc/sys/").replace(".", "\0").replace("/", ".").replace("\0", "/")  # as sysctl(8)
        if colon and not _NO_SETTING.fullmatch(name):
            yield f"sysctl {name}: {' '.join(value.split())}"


def _processes(_: str, lines: list[str]) -> Iterator[str]:
    """Return a line for each process but the kernel's own, keyed by its number and when it started (proc(5)).

    One that has ended is no process, though its parent has not asked for it yet: it has left its cgroup.
    """
    up = float(lines[0].split()[0]) if lines else 0.0
    cpus: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    stats: dict[str, str] = {}
    for line in lines:
        if not (found := re.match(r"/proc/(\d+)/(status|cgroup|stat):(.*)", line)):
            continue  # of a name with a line break in it
        pid, file, text = found.groups()
        if file == "status":
            cpus[pid] = text.split()[-1]
        elif file == "cgroup":
            groups.setdefault(pid, []).append(text)
        else:
            stats[pid] = text
    for pid, stat in stats.items():
        name, fields = stat.partition("(")[2].rpartition(")")[0], stat.rpartition(")")[2].split()
        if len(fields) <= 19 or pid not in cpus or fields[0] in "ZX" or int(fields[19]) > (up - 1) * _TICKS:
            continue
        if "2" not in (pid, fields[1]):
            state = "stopped" if fields[0] == "T" else "not stopped"
            where = " ".join(sorted(groups.get(pid, [])))
            yield f"process {pid}@{fields[19]} ({_one_line(name)}): {state}, processors {cpus[pid]}, cgroup {where}"


def _units(_: str, lines: list[str]) -> Iterator[str]:
    """Return a line for each enabled service that is more than loaded; an empty line ends a block of properties."""
    blocks = "\n".join(lines).split("\n\n")
    units = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]
    for unit in units:
        if unit.get("UnitFileState") != "enabled" or unit.get("ActiveState") == "inactive":
            continue
        ends = unit.get("Type") == "oneshot" and unit.get("RemainAfterExit") == "no"
        if unit.get("ActiveState") == "failed" or not (ends or ".timer" in unit.get("TriggeredBy", "")):
            yield f"unit {unit.get('Id')}: {unit.get('ActiveState')} {unit.get('SubState')}"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() and c != ":" else "?" for c in text)


_READERS: Mapping[str, Callable[[str, list[str]], Iterable[str]]] = {
    "qdisc": _qdiscs,
    "filter": _filters,
    "address": _network,
    "nft": _nft,
    **{f"{family}tables{how}": _iptables for family in ("ip", "ip6") for how in ("-save", "-legacy-save")},
    "sysctl": _sysctls,
    "process": _processes,
    "unit": _units,
    "file": lambda _, lines: (f"file {line}" for line in lines),
}
