#!/bin/sh
# Process 1 of a host under systemd, or another PROGRAM: `systemd.sh FOLDER [PROGRAM [ARGUMENT...]]`, in fresh PID,
# mount, network, UTS, IPC and cgroup namespaces.
# Its root is this machine's under an overlay that lies in FOLDER, so that a file outlives a reboot of the host; /run
# does not, and each boot has a boot id of its own.
set -e
folder=$1
shift
[ $# != 0 ] || set -- /lib/systemd/systemd --unit=basic.target --show-status=no
mount --make-rprivate /
mkdir -p "$folder/up" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/up,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
cat /proc/sys/kernel/random/uuid >run/boot_id
mount --bind run/boot_id proc/sys/kernel/random/boot_id
mkdir run/old
pivot_root . run/old
umount -l /run/old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
