#!/usr/bin/env bash
# Publishes this host's own events as they happen, all of them read from /proc:
#
#   host.NAME.cpu  host.NAME.load  host.NAME.memory       once a second
#   host.NAME.net.INTERFACE  host.NAME.disk.DEVICE        once a second, where something moved
#   host.NAME.process.started  host.NAME.process.exited   within a fifth of a second; what lives shorter is not seen
#
# usage: feed.sh [option of `carillon pub`]...
#
# CARILLON is the command to publish with. Runs until SIGTERM or SIGINT, then waits until all is published, and prints how
# many messages each topic got. Nothing is forked in between, because that would be news, too.
set -euo pipefail
# Names match byte by byte, whatever the user's language; a glob without a match is nothing.
export LC_ALL=C
shopt -s nullglob

carillon=${CARILLON:-carillon}
pub_options=("$@")
pipes=$(mktemp -d)
trap 'rm -rf "$pipes"' EXIT
running=true
trap 'running=false' INT TERM

# ---- Publishing: one `carillon pub --lines` for each topic, started with its first message ----

declare -A pipe_of=() publisher_of=() published=()

start_publisher() {
    local topic=$1 pipe
    mkfifo "$pipes/$topic"
    (
        # A pipe has an end only when nobody else holds it open.
        for pipe in "${pipe_of[@]}"; do exec {pipe}>&-; done
        exec "$carillon" pub "$topic" --lines "${pub_options[@]}" <"$pipes/$topic" >/dev/null
    ) &
    publisher_of[$topic]=$!
    exec {pipe}>"$pipes/$topic"
    pipe_of[$topic]=$pipe
}

publish() {
    local topic="host.$host.$1"
    [[ -v pipe_of[$topic] ]] || start_publisher "$topic"
    printf '%s\n' "$2" >&"${pipe_of[$topic]}"
    published[$topic]=$((${published[$topic]:-0} + 1))
}

finish() {
    local topic pipe failed=0
    for pipe in "${pipe_of[@]}"; do exec {pipe}>&-; done
    for topic in "${!publisher_of[@]}"; do
        wait "${publisher_of[$topic]}" || { failed=1 && printf 'feed: publishing to %s failed\n' "$topic" >&2; }
        printf '%s %s\n' "$topic" "${published[$topic]}"
    done
    return "$failed"
}

# ---- Forming: the result is in REPLY ----

# A token of a topic has no dots, blanks or wildcards.
token() { REPLY=${1//[. *>]/-}; }

json_string() {
    REPLY=${1//\\/\\\\}
    REPLY=${REPLY//\"/\\\"}
    REPLY=\"${REPLY//[[:cntrl:]]/?}\"
}

percent() {
    local -i tenths=$(($1 * 1000 / $2))
    REPLY=$((tenths / 10)).$((tenths % 10))
}

# ---- Reading: each function publishes one topic, or one family of them ----

# /proc/stat counts ticks since boot: user nice system idle iowait irq softirq steal.
ticks_before=()
read_cpu() {
    local ticks spent=() i all=0 busy user system
    read -r -a ticks </proc/stat
    ticks=("${ticks[@]:1:8}")
    for i in "${!ticks_before[@]}"; do
        spent[i]=$((ticks[i] - ticks_before[i]))
        all=$((all + spent[i]))
    done
    ticks_before=("${ticks[@]}")
    ((all > 0)) || return 0
    percent $((all - spent[3] - spent[4])) "$all" && busy=$REPLY
    percent $((spent[0] + spent[1])) "$all" && user=$REPLY
    percent $((spent[2] + spent[5] + spent[6])) "$all" && system=$REPLY
    percent "${spent[4]}" "$all"
    publish cpu "{\"busy_percent\":$busy,\"user\":$user,\"system\":$system,\"iowait\":$REPLY}"
}

read_load() {
    local one five fifteen tasks
    read -r one five fifteen tasks _ </proc/loadavg
    publish load "{\"1m\":$one,\"5m\":$five,\"15m\":$fifteen,\"running\":${tasks%/*},\"tasks\":${tasks#*/}}"
}

read_memory() {
    local -A kib=()
    local key value
    while read -r key value _; do kib[${key%:}]=$value; done </proc/meminfo
    publish memory "{\"total_kib\":${kib[MemTotal]},\"available_kib\":${kib[MemAvailable]},\"dirty_kib\":${kib[Dirty]}}"
}

# /proc/net/dev counts since boot: bytes and packets received and six numbers more, then the same sent.
declare -A net_before=()
read_net() {
    local line name received_bytes received sent_bytes sent now before
    while read -r line; do
        [[ $line == *:* ]] || continue
        name=${line%%:*}
        read -r received_bytes received _ _ _ _ _ _ sent_bytes sent _ <<<"${line#*:}"
        now="$received_bytes $received $sent_bytes $sent" before=${net_before[$name]:-}
        net_before[$name]=$now
        [[ -n $before && $before != "$now" ]] || continue
        # shellcheck disable=SC2086 # four numbers
        set -- $before
        token "$name"
        publish "net.$REPLY" "{\"received_bytes\":$((received_bytes - $1)),\"received_packets\":$((received - $2)),\
\"sent_bytes\":$((sent_bytes - $3)),\"sent_packets\":$((sent - $4))}"
    done </proc/net/dev
}

# /proc/diskstats counts since boot: reads and writes that were done, and their sectors of 512 bytes.
declare -A disk_before=()
read_disk() {
    local name reads sectors_read writes sectors_written now before
    while read -r _ _ name reads _ sectors_read _ writes _ sectors_written _; do
        now="$reads $sectors_read $writes $sectors_written" before=${disk_before[$name]:-}
        disk_before[$name]=$now
        [[ -n $before && $before != "$now" ]] || continue
        # shellcheck disable=SC2086 # four numbers
        set -- $before
        token "$name"
        publish "disk.$REPLY" "{\"reads\":$((reads - $1)),\"read_bytes\":$(((sectors_read - $2) * 512)),\
\"writes\":$((writes - $3)),\"written_bytes\":$(((sectors_written - $4) * 512))}"
    done </proc/diskstats
}

# The processes of the last look, each with its name as JSON. The first look only takes note of who is there.
declare -A name_of=()
looked=false
read_processes() {
    local -A alive=()
    local directory pid stat name parent
    for directory in /proc/[0-9]*; do
        pid=${directory#/proc/}
        alive[$pid]=1
        [[ ! -v name_of[$pid] ]] || continue
        # It may be gone again. Its name stands in parentheses, and may hold parentheses itself.
        { read -r stat <"$directory/stat"; } 2>/dev/null || continue
        name=${stat#*(}
        json_string "${name%)*}"
        name_of[$pid]=$REPLY
        read -r _ parent _ <<<"${stat##*)}"
        ! $looked || publish process.started "{\"pid\":$pid,\"parent\":$parent,\"name\":$REPLY}"
    done
    for pid in "${!name_of[@]}"; do
        [[ ! -v alive[$pid] ]] || continue
        publish process.exited "{\"pid\":$pid,\"name\":${name_of[$pid]}}"
        unset "name_of[$pid]"
    done
    looked=true
}

read -r host </proc/sys/kernel/hostname
token "$host" && host=$REPLY
# A pipe on which nothing ever comes, to wait on.
exec {never}<> <(:)
tick=0
while $running; do
    read_processes
    if ((tick++ % 5 == 0)); then
        read_cpu && read_load && read_memory && read_net && read_disk
    fi
    read -r -t 0.2 -u "$never" || :
done
finish
