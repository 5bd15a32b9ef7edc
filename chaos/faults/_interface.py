"""An interface as ip(8) shows it: up or down, its MTU, its addresses, routes and permanent neighbours; who is on it.

What the kernel forgets when an interface goes down it does not bring back: IPv6 addresses, every route but those that
an address implies, permanent neighbours. So each is kept in the words of ip(8), which adds what it shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from shlex import quote

from chaos.kernel import Flow

MOST = 500
"""How many routes are read, at most: an interface that carries more is no worker's."""

_READ = """dev={dev}
ip -o -d link show
echo --addresses; ip -o addr show dev "$dev" 2>/dev/null
echo --routes4; ip -4 -o route show table all dev "$dev" 2>/dev/null | head -n {most}
echo --routes6; ip -6 -o route show table all dev "$dev" 2>/dev/null | head -n {most}
echo --shared; {{ ip -4 -o route show table all; ip -6 -o route show table all; }} | grep -F nexthop |
    grep -F " dev $dev " | head -n {most}
ip nexthop show dev "$dev" 2>/dev/null
echo --neighbours; ip neigh show dev "$dev" nud permanent 2>/dev/null
echo --mtu6; cat "/proc/sys/net/ipv6/conf/$dev/mtu" 2>/dev/null
echo --control
pid=$$ said=$SSH_CONNECTION
while [ -z "$said" ] && [ "$pid" -gt 1 ]; do
    said=$(tr '\\0' '\\n' <"/proc/$pid/environ" | sed -n 's/^SSH_CONNECTION=//p') 2>/dev/null
    read -r stat <"/proc/$pid/stat" || break
    stat=${{stat##*) }}; stat=${{stat#* }}; pid=${{stat%% *}}
done
read -r peer _ here _ <<END
$said
END
[ -z "$here" ] || {{
    peer=${{peer#::ffff:}} here=${{here#::ffff:}} peer=${{peer%%[%]*}} here=${{here%%[%]*}}
    echo "$peer $here $(ip -o route get "$peer" from "$here")"; ip -o addr show to "$here"
}}
true"""

_SPOKEN = {"peer", "brd", "any", "scope", "metric"}  # words of an address that a value follows
_FLAGS = {"noprefixroute", "nodad", "home", "mngtmpaddr", "autojoin"}
_PASSING = r" (linkdown|dead|offload|trap|rt_offload|rt_trap)\b| expires -?[0-9]+sec"
_STRIPPED = "sed -E 's/ (linkdown|dead|offload|trap|rt_offload|rt_trap)//g; s/ expires -?[0-9]+sec//; s/ *$//'"


@dataclass(frozen=True)
class Address:
    """One address: `words` are those of ip-address(8); what runs out (`lifetime`) is no part of being the same."""

    family: str
    words: str
    lifetime: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """The address with its length, as it is listed."""
        return f"{self.family} {self.words.split()[0]}"


@dataclass(frozen=True)
class Route:
    """One route in the words of ip-route(8), of family -4 or -6."""

    family: str
    words: str
    lifetime: str = field(default="", compare=False)


@dataclass(frozen=True)
class Interface:
    """One interface, and what the fault must know of the others.

    `above` are interfaces that stand on this one, but for its master (a bridge, a bond); `shared` routes and nexthops
    that lead over several. `carries_control` tells whether this very connection, or a flow of the controller, is on it.
    """

    name: str
    exists: bool
    up: bool = False
    carrier: bool = False
    mtu: int = 0
    loopback: bool = False
    addresses: frozenset[Address] = frozenset()
    routes: frozenset[Route] = frozenset()
    neighbours: frozenset[str] = frozenset()
    tentative: bool = False
    mtu6: int = 0
    """What IPv6 takes for the MTU; 0 where there is no IPv6. A router's word lowers it, and any change of the link or
    of its MTU makes it the link's."""
    listed: tuple[Address, ...] = field(default=(), compare=False)
    limits: tuple[int, int] = field(default=(68, 65535), compare=False)
    """The least and the greatest MTU that the driver takes."""
    above: tuple[str, ...] = field(default=(), compare=False)
    shared: bool = field(default=False, compare=False)
    carries_control: bool = field(default=False, compare=False)


def reading(interface: str) -> str:
    """Return sh that prints what `parse` reads."""
    return _READ.format(dev=quote(interface), most=MOST)


def parse(name: str, printed: str, control: Iterable[Flow]) -> Interface:
    """Return an interface of what `reading` printed."""
    parts = dict(zip(*[iter(["links", *re.split(r"^--(\w+)\n", printed, flags=re.MULTILINE)])] * 2, strict=True))
    links = {found[1]: found for line in parts["links"].splitlines() if (found := _LINK.match(line))}
    if name not in links:
        return Interface(name, exists=False)
    flags, limits = links[name][3].split(","), re.search(r" minmtu (\d+) maxmtu (\d+)", links[name][5])
    listed = tuple(_address(line) for line in parts["addresses"].splitlines() if " temporary " not in line)
    routes = [
        _route(family, line)
        for family, key in (("-4", "routes4"), ("-6", "routes6"))
        for line in parts[key].splitlines()
        if not (" table local " in line and " proto kernel" in line)
    ]
    return Interface(
        name,
        exists=True,
        up="UP" in flags,
        carrier="LOWER_UP" in flags,
        mtu=int(links[name][4]),
        loopback="LOOPBACK" in flags,
        addresses=frozenset(listed),
        routes=frozenset(routes),
        neighbours=frozenset(_neighbour(line) for line in parts["neighbours"].splitlines() if " lladdr " in line),
        tentative=" tentative " in parts["addresses"],
        mtu6=int(parts["mtu6"].strip() or 0),
        listed=listed,
        limits=(int(limits[1]), int(limits[2]) or 65535) if limits else (68, 65535),
        above=tuple(other for other in links if name in _below(links, other, masters=False)),
        shared=bool(parts["shared"].strip()),
        carries_control=_carries(name, links, routes, parts["control"], control),
    )


_LINK = re.compile(r"\d+: ([^:@]+)(?:@([^:]+))?: <([^>]*)> mtu (\d+) (.*)")


def _below(links: dict[str, re.Match[str]], name: str, *, masters: bool) -> set[str]:
    """Return the interfaces on which one stands directly; those it is the master of as well, with `masters`."""
    found = {links[name][2]} if links[name][2] and not re.search(r" veth\b", links[name][5]) else set()
    ports = {other for other, link in links.items() if f" master {name} " in link[5]}
    return found | (ports if masters else set())


def _carries(
    name: str, links: dict[str, re.Match[str]], routes: list[Route], said: str, control: Iterable[Flow]
) -> bool:
    """Whether a controller's flow passes an interface, or one that stands on it."""
    first, _, addresses = said.partition("\n")
    devices = set(re.findall(r" dev (\S+)", first)) | set(re.findall(r"^\d+: (\S+) ", addresses, re.MULTILINE))
    for _ in links:
        devices |= {below for device in devices & set(links) for below in _below(links, device, masters=True)}
    known = first.partition(" ")[0]
    others = [flow for flow in control if str(flow.peer) != known]
    return name in devices or any(_covers(route, flow) for route in routes for flow in others)


def _covers(route: Route, flow: Flow) -> bool:
    if route.family != f"-{flow.peer.version}":
        return False
    destination = next(word for word in route.words.split() if word not in _TYPES)
    return destination == "default" or flow.peer in ip_network(destination)


_TYPES = {"unicast", "local", "broadcast", "multicast", "anycast", "throw", "unreachable", "prohibit", "blackhole"}


def _address(line: str) -> Address:
    told, _, lifetimes = line.partition("\\")
    family, *words = told.split()[2:]
    kept, rest = [words[0]], iter(words[1:])
    last = words[-1]
    for word in rest:
        if word in _SPOKEN:
            kept += [word, next(rest)]
        elif word in _FLAGS:
            kept.append(word)
    if family == "inet":
        kept += ["label", last]
    return Address(family, " ".join(kept), " ".join(re.sub(r"(\d)sec", r"\1", lifetimes).split()))


def _route(family: str, line: str) -> Route:
    expires = re.search(r" (expires \d+)sec", line)
    return Route(family, re.sub(_PASSING, "", line.rstrip()).rstrip(), expires[1] if expires else "")


def _neighbour(line: str) -> str:
    address, _, hardware = line.split()[:3]
    return f"{ip_address(address)} lladdr {hardware}"


# --- bringing it back -------------------------------------------------------------------------------------------------


def back(before: Interface) -> str:
    """Return sh that sets an interface up again and adds whatever it lacks, until it lacks nothing.

    A route may need one that is added after it, and an IPv6 source address that the kernel has found to be nobody
    else's: hence the patience.
    """
    items = "\n".join(f"    {has} || {{ left=1; {add}; }}" for has, add in _items(before))
    return f"""{_looks(before)}
ip link set dev {quote(before.name)} up
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    left=
    look
{items}
    [ -n "$left" ] || break
    sleep 0.2 || sleep 1
done 2>/dev/null
[ -z "$left" ]"""


def is_back(before: Interface) -> str:
    """Return the sh condition that an interface is up and lacks nothing."""
    dev = quote(before.name)
    up = f"case $(ip -o link show dev {dev}) in *[\\<,]UP[,\\>]*) true ;; *) false ;; esac"
    ready = f'[ -z "$(ip -6 -o addr show dev {dev} tentative)" ]'
    return f"{_looks(before)}\nlook\n" + " &&\n".join([up, *(has for has, _ in _items(before)), ready])


def _looks(before: Interface) -> str:
    dev = quote(before.name)
    return f"""nl='
'
look() {{ # sets shown: a line for each address, route and permanent neighbour
    shown=$(ip -o addr show dev {dev} | sed 's/^[0-9]*: [^ ]* *\\(inet6*\\) \\([^ ]*\\) .*/\\1 \\2/'
        for family in -4 -6; do
            ip $family -o route show table all dev {dev} | {_STRIPPED} | sed "s/^/$family /"
        done
        ip neigh show dev {dev} nud permanent | sed 's/^\\([^ ]* lladdr [^ ]*\\) .*/\\1/')
}}
has() {{ case $nl$shown$nl in *"$nl$1$nl"*) ;; *) false ;; esac; }}"""


def _items(before: Interface) -> list[tuple[str, str]]:
    """Return for each address, route and neighbour the condition that it is there, and what adds it.

    The kernel puts a new IPv6 address before those of its scope, so the last one listed is the first one added.
    """
    dev = quote(before.name)
    addresses = [
        (f"has {quote(a.text)}", f"ip addr add {_quoted(f'{a.words} {a.lifetime}')} dev {dev}")
        for a in (*(a for a in before.listed if a.family == "inet"), *reversed(_inet6(before)))
    ]
    routes = [
        (
            f"has {quote(f'{route.family} {route.words}')}",
            f"ip {route.family} route add {_quoted(f'{route.words} {route.lifetime}')} dev {dev}",
        )
        for route in sorted(before.routes, key=lambda route: (" via " in route.words, route.family, route.words))
    ]
    neighbours = [
        (f"has {quote(text)}", f"ip neigh replace {_quoted(text)} dev {dev} nud permanent")
        for text in sorted(before.neighbours)
    ]
    return addresses + routes + neighbours + mtu6(before)


def mtu6(before: Interface) -> list[tuple[str, str]]:
    """Return the condition that IPv6 takes the MTU it took, and what has it so; nothing where there is no IPv6."""
    file = quote(f"/proc/sys/net/ipv6/conf/{before.name}/mtu")
    return [(f'[ "$(cat {file})" = {before.mtu6} ]', f"echo {before.mtu6} >{file}")] if before.mtu6 else []


def _inet6(before: Interface) -> list[Address]:
    return [address for address in before.listed if address.family == "inet6"]


def _quoted(words: str) -> str:
    return " ".join(map(quote, words.split()))
