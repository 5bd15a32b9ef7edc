# shellcheck shell=sh disable=SC2154  # home is set before this text
#
# What lies in $home is run as root, so only its owner may write there: it is no link, ours, and closed to others. One
# that somebody else made, or could have put things into, is refused and left as it is.

own_home() { # fails, and says why, where $home is there and not ours alone
    for _ in 1 2 3 4 5; do # another run may take it away, or make it, between two looks
        [ -e "$home" ] || [ -L "$home" ] || return 0
        # shellcheck disable=SC2012  # stat(1) is not everywhere
        found=$(ls -ldn "$home" 2>/dev/null) && break
    done
    echo "$found" | {
        read -r mode _ owner _
        case $mode:$owner in d????-??-*:"$(id -u)") return 0 ;; esac
        echo "$home is refused: a folder of user $(id -u) that nobody else can write to was expected, no link;" \
            "found ${mode:-nothing that ls can read} of user $owner; look who made it and what is in it, then move it away or chmod go-w it" >&2
        return 1
    }
}

enter_home() { # makes $home where it is not there, and goes into it
    umask 077
    own_home && mkdir -p "$home" && own_home || return 1
    cd "$home" || return 1
}
