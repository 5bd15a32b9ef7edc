#!/bin/sh
# Process 1 of a namespaced host: `namespace.sh HOSTNAME`, in the host's folder, in fresh mount, PID, UTS and network
# namespaces but with the machine's /proc still in view. Everything in the host ends with this process.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home
read -r pid _ </proc/self/stat
hostname "$1"
mount --bind hosts /etc/hosts
mkdir -p cgroup
mount --rbind /sys/fs/cgroup cgroup
mount -t sysfs sysfs /sys
mount --rbind cgroup /sys/fs/cgroup
mount -t proc proc /proc
ip link set lo up
sh workload.sh >workload.log 2>&1 &
# last, and from a folder that /run may hide: who reads it may enter the host
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/home /run/lock
echo "$pid" >pid.new && mv pid.new pid
while :; do sleep 3600; done
