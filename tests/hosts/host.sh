#!/bin/sh
# Process 1 of a host: `host.sh HOSTNAME SSHD_CONFIG ETC`, in fresh mount, PID, UTS and network namespaces but with
# the machine's /proc still in view. It says its process number, waits for a line (its eth0 is there, with the addresses
# that the line gives), starts sshd and stays. ETC is a folder of files that stand in for those of /etc.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home
read -r pid _ </proc/self/stat
hostname "$1"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/home /run/lock /run/sshd /run/cgroup
for all in /sys/fs/cgroup/*; do
    [ -w "$all/cgroup.procs" ] || continue
    own=$all/ssh-host-$pid
    mkdir "$own"
    for set in cpuset.cpus cpuset.mems; do [ ! -e "$own/$set" ] || cat "$all/$set" >"$own/$set"; done
    [ ! -e "$own/cpu.shares" ] || echo 10240 >"$own/cpu.shares"
    echo 0 >"$own/cgroup.procs"
done
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
# cgroups of its own: what is swept on one host is not to end what runs on another, or in another test
for own in /sys/fs/cgroup/*/"ssh-host-$pid"; do mount --bind "$own" "${own%/*}"; done
mount -t proc proc /proc
for file in "$3"/*; do mount --bind "$file" "/etc/${file##*/}"; done
echo "$pid"
read -r address address6
ip -batch - <<END
link set lo up
addr add $address dev eth0
addr add $address6 dev eth0 nodad
link set eth0 up
END
/usr/sbin/sshd -f "$2" && while :; do sleep 3600; done
