#!/bin/sh
# The fuse: undoes a fault when nobody renews its lease. Usage: fuse.sh DIRECTORY
#
# In DIRECTORY:  undo   sh; the undo, repeatable            clean  sh; ends with 0 once the host reads as it should
#                lease  deadline, renewed by the controller ttl    deadline, never renewed
#                fire   present: undo now                   disarm present: the controller has undone it and read it back
#                pid    of this program
#                state  one line, written here: armed | reverting N: WHY | clean: WHY | STUCK: WHY | disarmed
# Deadlines are centiseconds of /proc/uptime: no change of the wall clock can blow a fuse or hold it back.
#
# Once the host reads clean the fuse keeps watch for as long as a lease: a command that was on its way when the lease
# ran out would otherwise land after the undo, with nobody left to take it away.
cd "$1" || exit 1
trap '' HUP INT QUIT PIPE
terminated=
trap 'terminated=1' TERM
echo -1000 2>/dev/null >/proc/self/oom_score_adj

echo $$ >pid
say() { printf '%s\n' "$1" >state.new && mv state.new state; }

clock() { # sets now, in centiseconds
    read -r up _ </proc/uptime
    now=${up%.*}${up#*.}
    now=${now#"${now%%[!0]*}"} # a leading zero would make it octal
    now=${now:-0}
}

nap() { sleep "$1" 2>/dev/null || sleep 1; } # a sleep without fractions naps a second

limited() { # a hung command must not hang the fuse
    if command -v timeout >/dev/null 2>&1; then timeout 60 sh "$1"; else sh "$1"; fi </dev/null >>log 2>&1
}

wait_for_a_reason() { # sets why; ends the program when the fuse is disarmed
    read -r last <ttl
    read -r deadline <lease
    say armed
    while :; do
        [ ! -e disarm ] || { say disarmed; exit 0; }
        clock
        ! read -r renewed <lease || deadline=${renewed:-$deadline} # a renewal may be half written
        if [ -e fire ]; then why="on request"; return; fi
        if [ -n "$terminated" ]; then why="the fuse was terminated"; return; fi
        if [ "$now" -ge "$deadline" ]; then why="the lease was not renewed"; return; fi
        if [ "$now" -ge "$last" ]; then why="the time to live was over"; return; fi
        nap 0.4
    done
}

revert() { # until the host reads clean, however long that takes
    attempt=0 pause=1
    while [ -e undo ]; do
        attempt=$((attempt + 1))
        if [ "$attempt" -gt 5 ]; then say "STUCK: $why; $attempt tries to undo it failed, see $PWD/log"
        else say "reverting $attempt: $why"; fi
        limited undo
        ! limited clean || return 0
        [ ! -e disarm ] || { say disarmed; exit 0; }
        nap "$pause"
        [ "$pause" -ge 10 ] || pause=$((pause * 2))
    done
    exit 0 # somebody who had read the host clean took the directory away
}

wait_for_a_reason
revert
say "clean: $why"
read -r watch <span
clock
watch_until=$((now + watch))
while [ "$now" -lt "$watch_until" ] && [ ! -e disarm ]; do
    nap 0.5
    [ -e disarm ] || limited clean || revert
    say "clean: $why"
    clock
done
[ ! -e disarm ] || say disarmed
