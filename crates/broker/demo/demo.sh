#!/usr/bin/env bash
# The main job in one terminal: this host's own live events (feed.sh), through a broker over TLS, to several subscribers.
#
# It takes free ports and a temporary home for its certificates, so that it disturbs no other broker, and ends what it
# started. Status 0 means that every subscriber got all that its pattern matches.
#
# CARILLON      the command; by default, the one on PATH
# DEMO_SECONDS  how long; 20 by default, 0 until Ctrl-C
# shellcheck disable=SC2329 # functions are given to others by name
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
export CARILLON=${CARILLON:-carillon}
seconds=${DEMO_SECONDS:-20}

home=$(mktemp -d)
export XDG_DATA_HOME=$home
read -r host </proc/sys/kernel/hostname
host=${host//[. *>]/-}
patterns=("host.$host.cpu" 'host.*.process.*' 'host.*.net.*' 'host.>')
colours=(36 33 35 32)

# ---- Starting and ending: each in a session of its own, so that Ctrl-C reaches this script alone ----

broker='' feed='' subscribers=()

end() { # PID...: asks them to leave, and sees them out
    local pid
    for pid; do kill "$pid" 2>/dev/null || :; done
    for pid; do wait "$pid" || :; done
}

leave() {
    trap '' INT TERM HUP
    end ${feed:+"$feed"} "${subscribers[@]}" ${broker:+"$broker"}
    rm -rf "$home"
}
trap leave EXIT

fail() {
    printf 'demo: %s\n' "$*" >&2
    [[ ! -s $home/log ]] || tail -n 20 "$home/log" >&2
    exit 1
}

eventually() { # COMMAND...: until it succeeds, for 10 s
    local _
    for _ in {1..100}; do
        ! "$@" || return 0
        sleep 0.1
    done
    return 1
}

# ---- The broker ----

greeted() { grep -q '^metrics: ' "$home/greeting"; }
address() { sed -n "s|^$1: *\(.*\)|\1|p" "$home/greeting"; }

metrics() {
    local connection
    exec {connection}<>"/dev/tcp/${admin%:*}/${admin##*:}"
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&"$connection"
    cat <&"$connection"
    exec {connection}>&-
}
# The sum over all the labels of a metric.
metric() { metrics | awk -v name="$1" '$1 == name || index($1, name "{") == 1 { sum += $2 } END { print sum + 0 }'; }

setsid "$CARILLON" serve --dev --listen 127.0.0.1:0 --admin 127.0.0.1:0 >"$home/greeting" 2>"$home/log" </dev/null &
broker=$!
eventually greeted || fail "no broker came up"
url=$(address clients)
admin=$(address metrics)
admin=${admin#http://}
admin=${admin%/metrics}

# ---- The subscribers ----

shopt -s checkwinsize
(:) # sets COLUMNS, where there is a terminal
width=$((${COLUMNS:-0} > 60 ? COLUMNS - 22 : 1000))
show() { # NUMBER: prints a subscriber's lines as they come, and keeps them to be counted
    local line label colour='' plain=''
    trap '' INT HUP
    printf -v label '%-*s' 18 "${patterns[$1]}"
    [[ ! -t 1 ]] || colour=$'\e['${colours[$1]}m plain=$'\e[0m'
    while IFS= read -r line; do
        printf '%s%s |%s %s\n' "$colour" "$label" "$plain" "${line:0:width}"
        printf '%s\n' "$line" >>"$home/received.$1"
    done
}

all_subscribed() { (($(metric carillon_subscriptions) == ${#patterns[@]})); }

for number in "${!patterns[@]}"; do
    : >"$home/received.$number"
    setsid "$CARILLON" sub "${patterns[$number]}" --url "$url" > >(show "$number") 2>>"$home/log" </dev/null &
    subscribers+=($!)
done
eventually all_subscribed || fail "the subscribers did not get through to the broker"

# ---- The feed ----

printf 'broker %s, %s subscribers, this host feeds it' "$url" "${#patterns[@]}"
if ((seconds)); then printf ' for %s s\n\n' "$seconds"; else printf ' until Ctrl-C\n\n'; fi
setsid "$here/feed.sh" --url "$url" >"$home/published" 2>>"$home/log" </dev/null &
feed=$!
# The script goes on, to its summary.
trap : INT TERM HUP
sleep "$( ((seconds)) && echo "$seconds" || echo infinity)" &
clock=$!
wait -n "$clock" "$feed" "$broker" || :
kill "$clock" 2>/dev/null || :
kill -0 "$broker" 2>/dev/null || fail "the broker ended by itself"
kill -0 "$feed" 2>/dev/null || fail "the feed ended by itself"

# ---- The summary ----

end "$feed" && feed=''

matching() { # PATTERN: how many of the published messages it matches
    local regex=${1//./\\.} topic count sum=0
    regex=${regex//\*/[^.]+}
    regex=${regex/%>/.+}
    while read -r topic count; do
        [[ ! $topic =~ ^$regex$ ]] || sum=$((sum + count))
    done <"$home/published"
    echo "$sum"
}

received() { wc -l <"$home/received.$1"; }
complete() { (($(received "$1") >= $(matching "${patterns[$1]}"))); }

incomplete=0
printf '\n%-20s %9s %9s\n' subscriber matching received
for number in "${!patterns[@]}"; do
    eventually complete "$number" || incomplete=1
    printf '%-20s %9s %9s\n' "${patterns[$number]}" "$(matching "${patterns[$number]}")" "$(received "$number")"
done
printf '\n%s messages were published to %s topics. The broker accepted %s, delivered %s and dropped %s.\n' \
    "$(awk '{ sum += $2 } END { print sum + 0 }' "$home/published")" "$(wc -l <"$home/published")" \
    "$(metric carillon_messages_received_total)" "$(metric carillon_messages_delivered_total)" \
    "$(metric carillon_messages_dropped_total)"
exit "$incomplete"
