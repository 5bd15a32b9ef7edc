# shellcheck shell=sh
# What of a host a fault of ours may change, as its own tools print it; the controller makes sense of it, since a process
# is dear on a host that emulates its processor. `@@ NAME` begins a section; `@@ NAME failed` says that it can't be read.
# Nothing here loads a module: iptables is asked only where its tables are loaded already (iptables(8) would load them).

section() { # NAME COMMAND...: nothing where the host has no such command
    name=$1
    shift
    command -v "$1" >/dev/null || return 0
    echo "@@ $name"
    "$@" 2>/dev/null </dev/null || echo "@@ $name failed"
}
all() { # COMMAND...: of grep, which says 2 for a file that went away or can't be read
    "$@"
    [ $? -le 2 ]
}

qdiscs=$(tc qdisc show 2>/dev/null) || echo '@@ qdisc failed'
printf '@@ qdisc\n%s\n' "$qdiscs"
for device in /sys/class/net/*; do
    device=${device##*/}
    case $qdiscs in
        *" ffff: dev $device "* | *" "[1-9a-f]*": dev $device root "*)
            echo "@@ filter $device"
            tc -force -batch - 2>/dev/null <<TC
class show dev $device
filter show dev $device
filter show dev $device ingress
filter show dev $device egress
TC
            ;;
    esac
    if ! [ -e "/sys/class/net/$device/device" ] || ! command -v dcb >/dev/null; then continue; fi
    echo "@@ dcb $device"
    for object in pfc ets app; do # -batch loses what the second command is answered (iproute2 6.1)
        dcb "$object" show dev "$device" || break
    done 2>/dev/null
done
echo '@@ address'
{ ip -o -batch - <<IP || { ip -o link && ip -o address && ip route show table all && ip rule; }; } 2>/dev/null ||
link show
address show
route show table all
rule show
IP
    echo '@@ address failed' # busybox's ip has no -batch
section rule6 ip -6 -o rule show
section nft nft -s list ruleset
for family in ip ip6; do
    tables=
    read -r tables 2>/dev/null <"/proc/net/${family}_tables_names" || :
    [ -n "$tables" ] || continue
    command -v "${family}tables-legacy-save" >/dev/null && save=${family}tables-legacy-save || save=${family}tables-save
    section "$save" "$save"
done
section sysctl all grep -rs . /proc/sys/net /proc/sys/vm /proc/sys/kernel
section process cat /proc/uptime
all grep -sE '^(Cpus_allowed_list:|[0-9]+[: ])' /proc/[0-9]*/status /proc/[0-9]*/cgroup /proc/[0-9]*/stat
[ ! -d /run/systemd/system ] || section unit systemctl show '*.service' -p Id -p UnitFileState -p ActiveState -p SubState \
    -p Type -p RemainAfterExit -p TriggeredBy
echo '@@ ours'
ls /run/gameday/fuses 2>/dev/null || :
