#!/bin/sh
# shellcheck disable=SC2094  # files are read and written in turn here, never in one pipeline
# shellcheck disable=SC2317  # a trap calls `alert`
# The fuse: undoes a fault when nobody renews its lease. Usage: fuse.sh DIRECTORY fuse | guardian | unit | boot
#
# In DIRECTORY:  undo   sh; the undo, repeatable            clean  sh; ends with 0 once the host reads as it should
#                lease  deadline, renewed by the controller ttl    deadline, never renewed
#                span   how long a lease is                 boot   the boot in which it was armed
#                fire   present: undo now                   disarm present: the controller has undone it and read it back
#                pid, guardian   of the two programs        over   present: there is nothing left to do
#                why    why it let go; present: it has begun to
#                hooks  the files that start the undo at boot, one a line, where there are any
#                state  one line, written here: armed | reverting N: WHY | clean: WHY | STUCK: WHY | disarmed
# Times are centiseconds of /proc/uptime: no change of the wall clock can blow a fuse or hold it back.
#
# Roles. `fuse` and `guardian` are a pair: each starts the other anew when it finds it dead, within 2 s. Killed both at
# once, they are not: only a supervisor outlives that, and where systemd is one, a `unit` needs no partner. All that a
# program knows stands in DIRECTORY, so one that is started anew goes on where the one before was. `boot` undoes what
# outlived a reboot: one try a start, which ends with 1 while the host does not read clean (fuse_boot.sh starts it).
#
# It sleeps until the next deadline; SIGUSR1 wakes it. SIGTERM lets go: so a shutdown does.
#
# Once the host reads clean the fuse keeps watch for as long as a lease: a command that was on its way when the lease
# ran out would otherwise land after the undo, with nobody left to take it away.
cd "$1" || exit 1
role=${2:-fuse}
trap '' HUP INT QUIT PIPE
woken='' sleeper='' terminated=''
alert() { woken=1; [ -z "$sleeper" ] || kill "$sleeper"; } 2>/dev/null
trap alert USR1
trap 'terminated=1; alert' TERM

clock() { # sets now
    read -r up _ </proc/uptime
    now=${up%.*}${up#*.}
    now=${now#"${now%%[!0]*}"} # a leading zero would make it octal
    now=${now:-0}
}

say() { printf '%s\n' "$1" >state.new && mv state.new state; }

nap() { # for centiseconds, or until a signal comes, or not at all when one came since the last nap
    hundredths=$(($1 % 100))
    [ "$hundredths" -ge 10 ] || hundredths=0$hundredths
    if [ -n "$fractions" ]; then sleep "$(($1 / 100)).$hundredths" & else sleep $((($1 + 99) / 100)) & fi
    sleeper=$!
    if [ -n "$woken" ] || ! wait "$sleeper"; then kill "$sleeper"; fi
    sleeper='' woken=''
} 2>/dev/null

shelter() { # from the OOM killer, and into cgroups of our own: a fault may squeeze the one that we were started in
    echo -1000 >/proc/self/oom_score_adj
    case $role in unit | boot) return ;; esac
    for group in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/cpu /sys/fs/cgroup/memory; do
        [ -w "$group/cgroup.procs" ] || continue
        group=$group/gameday-fuse
        [ -d "$group" ] || mkdir "$group" || continue
        echo 10000 >"$group/cpu.weight"
        echo 102400 >"$group/cpu.shares" # the same in cgroup v1
        echo $$ >"$group/cgroup.procs"
    done
} 2>/dev/null

leave_shelter() { # the last one out removes them
    for group in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/cpu /sys/fs/cgroup/memory; do
        group=$group/gameday-fuse
        [ ! -d "$group" ] || { echo $$ >"${group%/*}/cgroup.procs"; rmdir "$group"; }
    done
} 2>/dev/null

# --- the pair ---------------------------------------------------------------------------------------------------------

stands() { # whether the process whose number is in a file runs, and in this directory: numbers are used again
    # shellcheck disable=SC3013  # dash, bash and busybox ash have it
    { read -r number <"$1"; } 2>/dev/null && [ "/proc/$number/cwd" -ef . ]
}

wake() { ! stands "$1" || kill -USR1 "$number"; } 2>/dev/null

start() { # the partner, in a session of its own
    if command -v setsid >/dev/null; then set -- setsid "$@"; else set -- nohup "$@"; fi
    "$@" </dev/null >/dev/null 2>&1 &
}

pair() { # sees to it that the partner is there
    case $role in
    fuse) stands guardian || start sh ./fuse.sh . guardian ;;
    guardian) stands pid || start sh ./fuse.sh . fuse ;;
    esac
}

guard() { # until the fuse has nothing left to do
    while [ -e fuse.sh ] && [ ! -e over ]; do
        [ -z "$terminated" ] || { : >fire; wake pid; terminated=; }
        pair
        nap 100
    done
}

finish() { # says a last word, if there is one to say
    [ -z "${1-}" ] || say "$1"
    : >over
    wake guardian
    leave_shelter
    exit 0
}

# --- what lets go -----------------------------------------------------------------------------------------------------

limited() { # a hung command must not hang the fuse; what it starts for good (a daemon) is not to be sheltered for good
    (
        exec </dev/null >>log 2>&1
        { echo 0 >/proc/self/oom_score_adj; } 2>/dev/null
        for group in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/cpu /sys/fs/cgroup/memory; do
            [ ! -d "$group/gameday-fuse" ] || echo 0 >"$group/cgroup.procs"
        done 2>/dev/null
        if command -v timeout >/dev/null; then exec timeout 60 sh "$1"; else exec sh "$1"; fi
    )
}

see_deadlines() { # one that is half written leaves what was known; one that never was known is a lease from now
    { ! read -r found <lease || deadline=${found:-$deadline}; } 2>/dev/null
    { ! read -r found <ttl || last=${found:-$last}; } 2>/dev/null
    [ -n "$deadline" ] || { read -r span <span && deadline=$((now + span)); }
}

reason() { # sets why; fails where there is none
    if [ -e fire ]; then why="on request"
    elif [ -n "$terminated" ]; then why="the fuse was terminated"
    elif [ "$now" -ge "$deadline" ]; then why="the lease was not renewed"
    elif [ "$now" -ge "${last:-$deadline}" ]; then why="the time to live was over"
    else return 1
    fi
}

wait_for_a_reason() { # ends the program when the fuse is disarmed
    deadline='' last=''
    clock
    see_deadlines
    pair
    [ "$role" = unit ] || for _ in 1 2 3 4 5 6 7 8 9 10; do stands guardian && break; nap 10; done
    [ -e disarm ] || say armed
    while :; do
        [ ! -e disarm ] || finish disarmed
        clock
        see_deadlines
        ! reason || return 0
        pair
        left=$(((deadline < ${last:-deadline} ? deadline : ${last:-deadline}) - now))
        nap $((left < 200 ? left : 200))
    done
}

revert() { # until the host reads clean, however long that takes
    attempt=0 pause=100
    { read -r state <state; } 2>/dev/null || state=''
    case $state in # one before this has tried already
    "reverting "*) attempt=${state#reverting } attempt=${attempt%%:*} ;;
    STUCK*) attempt=5 ;;
    esac
    while [ -e undo ]; do
        attempt=$((attempt + 1))
        if [ "$attempt" -gt 5 ]; then say "STUCK: $why; $attempt tries to undo it failed, see $PWD/log"
        else say "reverting $attempt: $why"; fi
        limited undo
        ! limited clean || return 0
        [ ! -e disarm ] || finish disarmed
        [ "$role" != boot ] || exit 1
        pair
        nap "$pause"
        [ "$pause" -ge 1000 ] || pause=$((pause * 2))
    done
    finish # somebody who had read the host clean took the directory away
}

keep_watch() {
    clock
    [ -s watch ] || { read -r span <span && echo $((now + span)) >watch; }
    read -r until <watch
    while say "clean: $why" && [ "$now" -lt "$until" ] && [ ! -e disarm ]; do
        case $role$terminated in unit1 | boot*) return 0 ;; esac # who stops the unit, or boots, waits for it
        pair
        nap 50
        [ -e disarm ] || limited clean || revert
        clock
    done
}

begin() { # as the one program of its role; notes its number in a file
    ! stands "$1" || exit 0
    echo $$ >"$1"
    shelter
    fractions=1
    sleep 0.01 2>/dev/null || fractions=
}

if [ "$role" = guardian ]; then
    begin guardian
    guard
    leave_shelter
    exit 0
fi
begin pid
read -r boot </proc/sys/kernel/random/boot_id
{ read -r armed_in <boot; } 2>/dev/null || armed_in=$boot
[ "$role$boot" != "boot$armed_in" ] || exit 0 # the fuse itself is at work
if [ -e why ]; then # one before this has begun, and may have ended, what there is to do
    read -r why <why
    limited clean || revert
else
    if [ "$role" = boot ] || [ "$boot" != "$armed_in" ]; then why="the host was booted"; else wait_for_a_reason; fi
    echo "$why" >why
    revert
fi
keep_watch
[ ! -e disarm ] || finish disarmed
[ ! -e hooks ] || while read -r hook; do rm -f "$hook"; done <hooks
finish
