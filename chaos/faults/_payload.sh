#!/bin/sh
# Keeps a payload: a program that takes what the host has. Usage: keeper.sh WEIGHT PROGRAM [ARGUMENT...], in a directory
# of its own beside those of the fuses (`payloads/NAME`), with GAMEDAY_PAYLOAD=NAME in its environment.
#
# In the directory:  stop    sh; ends the payload and takes all of it away     report  what the program prints
#                    ended   its exit status, present once it has ended       log     what it complained of
#                    afterwards   sh, if any: undoes what is of no use without the program
#
# The program runs in cgroups of its own (v1 and v2 alike), which weigh WEIGHT against the fuse's 10000, and the OOM
# killer takes it before anything else. It lives as long as the fuse whose undo names it: where there is none, or where
# the fuse's own deadlines are over and it has not acted, all is stopped from here.
name=${PWD##*/}
weight=$1 fuse='' lease='' ttl=''
shift

enter() { # cgroups of our own, or leave them for the root
    for group in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/cpu /sys/fs/cgroup/cpuacct /sys/fs/cgroup/memory; do
        [ -w "$group/cgroup.procs" ] || continue
        if [ -z "$1" ]; then echo $$ >"$group/cgroup.procs"; continue; fi
        mkdir "$group/$1"
        [ ! -e "$group/$1/cpu.weight" ] || echo "$weight" >"$group/$1/cpu.weight"
        [ ! -e "$group/$1/cpu.shares" ] || echo $((weight * 1024 / 100)) >"$group/$1/cpu.shares"
        echo $$ >"$group/$1/cgroup.procs"
    done
} 2>/dev/null

clock() { # sets now, centiseconds of /proc/uptime
    read -r up _ </proc/uptime
    now=${up%.*}${up#*.}
    now=${now#"${now%%[!0]*}"} # a leading zero would make it octal
    now=${now:-0}
}

find_fuse() {
    for fuse in ../../fuses/*; do ! grep -qF "payloads/$name" "$fuse/undo" || return 0; done
    fuse=''
    return 1
} 2>/dev/null

leashed() { # two seconds are given to an undo that has begun; a deadline that is half written leaves what was known
    [ -e "$fuse/undo" ] || find_fuse || return 1
    { ! read -r found <"$fuse/lease" || lease=${found:-$lease}; } 2>/dev/null
    { ! read -r found <"$fuse/ttl" || ttl=${found:-$ttl}; } 2>/dev/null
    clock
    [ "$now" -lt $((${lease:-0} + 200)) ] && [ "$now" -lt $((${ttl:-0} + 200)) ]
}

runs() { # a program that has ended is a zombie, since nobody has waited for it
    { read -r stat <"/proc/$program/stat"; } 2>/dev/null || return 1
    case $stat in *') Z '*) return 1 ;; esac
}

echo $$ >keeper
enter "gameday-$name"
(
    { echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null
    exec "$@" </dev/null >report 2>log
) &
program=$!
while leashed; do
    if ! runs && [ ! -e ended ]; then
        wait "$program"
        echo $? >ended
        [ ! -e afterwards ] || sh ./afterwards 2>>log
    fi
    sleep 1
done
enter ''
unset GAMEDAY_PAYLOAD # or the next would end itself
exec sh ./stop
