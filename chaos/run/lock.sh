# shellcheck shell=sh disable=SC2154  # home, me, my_run, span and dead are set, and home.sh is, by lock.py before this text
#
# The lock of one host. In $home:
#
#     lock    deadline in centiseconds of /proc/uptime (12 digits), owner, run, when it was taken: a line each
#     mutex   held by flock(1) while the lock changes hands; the kernel drops it when the holder dies
#     panic   who called `gameday panic`, and when: no run may begin, and none may go on
#
# The lock is written aside and renamed, so a reader sees a whole one or none. A renewal that is over before the old
# deadline needs no mutex, and so costs no process: until then nobody may take over. It writes over the twelve digits in
# place; whoever finds that they ran out looks twice, so that half a renewal can't deceive.

clock() { # sets now
    read -r up _ </proc/uptime
    now=${up%.*}${up#*.}
    now=${now#"${now%%[!0]*}"} # a leading zero would make it octal
    now=${now:-0}
}

parse() { # sets until, owner, run and since from standard input
    until='' owner='' run='' since=''
    read -r until
    read -r owner
    read -r run
    read -r since
    case $until in *[!0-9]*) until='' ;; *) until=${until#"${until%%[!0]*}"} ;; esac
}

see() { # fails where there is no lock
    owner=''
    [ -e lock ] || return 1
    { parse <lock; } 2>/dev/null || :
}

ours() { [ "$owner" = "$me" ] && [ "$run" = "$my_run" ]; }

ran_out() {
    for _ in first again; do
        { see && [ -n "$until" ]; } || return 1
        clock
        [ "$now" -ge "$until" ] || return 1
    done
}

armed() { # sets busy to the fuses that have not let go; fails where there is none
    busy=''
    for fuse in fuses/*; do
        [ -d "$fuse" ] || continue
        state=''
        { read -r state <"$fuse/state"; } 2>/dev/null
        case $state in clean* | disarmed) ;; *) busy="$busy ${fuse#fuses/}" ;; esac
    done
    [ -n "$busy" ]
}

# one that no fuse keeps and whose lease ran out, or whose owner the controller knows to be dead
abandoned() { ! armed && { ran_out || { see && [ "$owner" = "$dead" ]; }; }; }

say() { # the holder, a line a field: owner, run, age and time left in centiseconds, fuses that have not let go
    clock
    printf '%s\n' "$owner" "$run" "$((now - ${since:-$now}))" "$((${until:-$now} - now))" "$busy"
}

extend() { # the lock on standard input
    clock
    printf '%012d\n' "$((now + span))" 1<>/proc/self/fd/0
}

in_time() { # renews the lock on standard input; fails when it is not ours or the old deadline is over
    parse
    clock
    ours && [ "$now" -lt "${until:-0}" ] && extend && clock && [ "$now" -lt "$until" ]
}

alone() { # runs a function in $home with the mutex held; $home and its mutex may vanish before we hold it
    own_home || return 1
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
        enter_home || continue
        # shellcheck disable=SC2094  # nobody writes to the mutex
        {
            flock 9 || return 1
            # shellcheck disable=SC3013  # dash, bash and busybox ash have it
            if [ "$home/mutex" -ef /proc/self/fd/9 ]; then
                "$1"
                return
            fi
        } 9>>"$home/mutex"
    done
    echo "$home/mutex can't be held" >&2
    return 1
}

tidy() { # removes the mutex last: who waits for it sees that it is gone, and begins anew
    rmdir fuses 2>/dev/null
    [ -e lock ] || { rm -f mutex && cd / && rmdir "$home" 2>/dev/null; }
    return 0
}

lockout() { [ ! -e "$home/panic" ] || cat "$home/panic"; }

try() {
    if [ -e panic ]; then
        echo panic
        lockout
    elif ! armed && { ! see || abandoned; }; then
        clock
        printf '%012d\n%s\n%s\n%s\n' "$((now + span))" "$me" "$my_run" "$now" >lock.new && mv lock.new lock
    else
        see
        say
    fi
}

take() { alone try; }

holder() {
    cd "$home" 2>/dev/null || return 0
    if see && ! abandoned; then
        armed
        say
    fi
}

unlock() {
    if see && ours; then rm -f lock; fi
    tidy
}

release() { [ ! -e "$home/lock" ] || alone unlock; }

clear_away() {
    if abandoned; then rm -rf lock; fi
    tidy
}

drop() { { [ ! -e "$home/lock" ] && [ ! -e "$home/mutex" ]; } || alone clear_away; }

late() {
    if [ -e panic ]; then
        echo panic
    elif ! see; then
        echo gone
    elif ours; then
        extend <lock
        echo held
    else
        echo "$owner, run $run"
    fi
}

renew() {
    if [ ! -e "$home/lock" ]; then
        echo gone
    elif [ ! -e "$home/panic" ] && in_time <"$home/lock"; then
        echo held
    else
        alone late
    fi
}
