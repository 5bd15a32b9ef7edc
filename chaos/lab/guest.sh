#!/bin/sh
# shellcheck disable=SC1091,SC2154 # what is sourced is made for each host
# Process 1 of a guest once its root is ready. /run/lab is the host's folder on the lab's side, read-only; `settings`
# in it gives hostname, address, address6, modules (a folder) and release (of the kernel).
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home
exec </dev/null
. /run/lab/settings

mkdir -p /run/sshd /run/home /run/lock /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
chmod 1777 /tmp

# root logs in with a plain sh and an empty home: a heavy start-up file would cost seconds of emulated CPU a command
sed 's#^root:.*#root:x:0:0:root:/run/home:/bin/sh#' /etc/passwd >/run/passwd
echo 'root:*:19000:0:99999:7:::' >/run/shadow
chmod 600 /run/shadow
mount --bind /run/passwd /etc/passwd
mount --bind /run/shadow /etc/shadow
mount --bind /run/lab/hosts /etc/hosts

# what the kernel asks modprobe for by itself (a qdisc for tc, crc32 for rxe) is looked for in /lib/modules alone
mkdir -p "/lib/modules/$release"
mount --bind "$modules" "/lib/modules/$release"

hostname "$hostname"
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth1 up
ip addr add "$address" dev eth1
ip -6 addr add "$address6" dev eth1 nodad

install -m 600 /run/lab/host_key /run/sshd/host_key
# one fast key exchange: the default one costs a second of emulated CPU a connection
/usr/sbin/sshd -f /dev/null -o HostKey=/run/sshd/host_key -o AuthorizedKeysFile=/run/lab/authorized_keys -o StrictModes=no \
    -o UsePAM=no -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no -o PidFile=/run/sshd.pid \
    -o KexAlgorithms=curve25519-sha256,curve25519-sha256@libssh.org -o MaxSessions=100 -o MaxStartups=100 -o SetEnv="PATH=$PATH" || echo "lab: failed: sshd"
sh /run/lab/workload.sh >/run/workload.log 2>&1 &
# the first use of a module would otherwise be timed as part of a fault
{ modprobe ifb numifbs=0; modprobe -a sch_netem sch_tbf sch_prio sch_ingress cls_u32 act_mirred; } 2>/dev/null &
echo "lab: ready clocksource=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
# reaps what was orphaned, as process 1 must
while :; do sleep 3600; done
