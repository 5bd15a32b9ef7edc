#!/bin/busybox sh
# shellcheck shell=dash
# Process 1 of a guest until its root is ready: the initramfs's /init.
# The root is this machine's own root, read-only over 9p, under an overlay in memory; the host's folder is /run/lab.
b=/bin/busybox
fail() { echo "lab: failed: $1"; $b sync; $b poweroff -f; }
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
for module in $($b cat /modules/order); do $b insmod "/modules/$module" || fail "insmod $module"; done
export_of() { $b mount -t 9p -o "trans=virtio,version=9p2000.L,msize=1048576,cache=loose,ro" "$1" "$2" || fail "9p $1"; }
export_of root /lower
$b mount -t tmpfs tmpfs /upper
$b mkdir -p /upper/files /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root || fail overlay
$b mount -t tmpfs -o mode=755 tmpfs /root/run
$b mkdir -p /root/run/lab
export_of lab /root/run/lab
for mount in proc sys dev; do $b mount --move /$mount /root/$mount; done
exec $b switch_root /root /bin/sh /run/lab/guest.sh
