#!/bin/sh
# Have the undo of a fuse's directory also run at boot. Usage, in it: boot.sh FOLDER NAME
#
# FOLDER, which survives a reboot, becomes a directory for role `boot` of fuse.sh. Under systemd a unit of that NAME
# runs it, early, once the local file systems are there; an undo that hangs holds up the boot for two minutes at most.
# Elsewhere cron runs it. Both try again until the host reads clean. Both directories name in `hooks` the files that
# are to be removed then. Prints why not, and ends with 1, where it can't be done; 0 once all is on the disk.
folder=$1 name=$2 hooks='' PATH=$PATH:/usr/sbin:/sbin
unit=/etc/systemd/system/$name.service
wanted=/etc/systemd/system/sysinit.target.wants/$name.service
table=/etc/cron.d/$name
has_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }
has_cron() { [ -d /etc/cron.d ] && { command -v cron || command -v crond; } >/dev/null; }

fail() {
    rm -rf "$folder" "$unit" "$wanted" "$table"
    echo "no undo at boot, and what is to be undone outlives one: $1"
    exit 1
} 2>/dev/null

place() { mkdir -p "$folder" && cp undo clean boot fuse.sh hooks "$folder"; } 2>/dev/null

write_unit() {
    cat >"$unit" <<EOF
[Unit]
Description=gameday: undo what outlived a reboot
DefaultDependencies=no
RequiresMountsFor="$folder"
After=local-fs.target systemd-remount-fs.service
Before=sysinit.target systemd-sysctl.service shutdown.target
Conflicts=shutdown.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/bin/sh "$folder/fuse.sh" "$folder" boot
Restart=on-failure
RestartSec=2
TimeoutStartSec=120
KillMode=process
OOMScoreAdjust=-1000

[Install]
WantedBy=sysinit.target
EOF
} 2>/dev/null

[ "$(id -u)" = 0 ] || fail "only root can install one"
if has_systemd; then hooks="$unit $wanted"
elif has_cron; then hooks=$table
else fail "neither systemd runs here nor is there a cron that reads /etc/cron.d"; fi
# shellcheck disable=SC2086 # a list of words
printf '%s\n' $hooks >hooks
place || fail "$folder can't be written"
if has_systemd; then
    write_unit || fail "$unit can't be written"
    systemctl --quiet --no-reload enable "$name.service" >/dev/null 2>&1
    [ -e "$wanted" ] || fail "systemctl does not enable $unit"
else
    again="while [ -e undo ] && ! sh ./fuse.sh . boot; do sleep 2; done"
    echo "@reboot root cd '$folder' && $again" 2>/dev/null >"$table" || fail "$table can't be written"
fi
# a reboot may be a loss of power, and that right after the fault; some sync(1) know no names
# shellcheck disable=SC2086 # a list of words
sync "$folder" "$folder"/* "${folder%/*}" $hooks /etc/cron.d 2>/dev/null || sync
