#!/usr/bin/env bash
# Audits the TLS of a running broker, at the clients' listener and the admin listener, with tools that others wrote:
#
#   sslyze      every listener complies with Mozilla's "intermediate" recommendation
#   testssl.sh  every finding is good, or explained in explained.toml
#
# The broker is the real command with certificates of `carillon certs dev`, on loopback ports that are free. Both tools trust
# that authority, so the chain is checked too. Certificates, logs and results lie in a temporary folder.
#
# AUDITS    which to run, "sslyze testssl" by default; sslyze alone takes seconds, testssl.sh about a minute
# CARILLON  the command; by default, the one that `make build` builds
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../../.."
SSLYZE_VERSION=6.3.1
AUDITS=${AUDITS:-sslyze testssl}
target=${CARGO_TARGET_DIR:-target}
carillon=$(realpath "${CARILLON:-$target/debug/carillon}")
venv=$target/tls-audit/sslyze-$SSLYZE_VERSION

work=$(mktemp -d)
leave() {
  local running
  mapfile -t running < <(jobs -pr)
  ((${#running[@]} == 0)) || kill "${running[@]}" 2>/dev/null || :
  wait
  rm -rf "$work"
}
trap leave EXIT

fail() { # STATUS MESSAGE [FILE]: with the end of a file that tells more
  printf 'tls-audit: %s\n' "$2" >&2
  [[ ! -s ${3:-} ]] || tail -n 40 "$3" >&2
  exit "$1"
}

install() { # PACKAGE WHAT-FOR
  [[ $(id -u) = 0 ]] && command -v apt-get >/dev/null || fail 2 "$2 is missing. As root: apt-get install $1"
  echo "installing $1, for $2"
  DEBIAN_FRONTEND=noninteractive apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$1" >"$work/apt.log" 2>&1 ||
    fail 2 "$1 could not be installed" "$work/apt.log"
}

set_up() {
  local audit
  for audit in $AUDITS; do
    case $audit in
    sslyze)
      [[ ! -x $venv/bin/sslyze ]] || continue
      python3 -c 'import ensurepip' 2>/dev/null || install python3-venv "a Python environment"
      python3 -m venv "$venv"
      "$venv/bin/pip" install --quiet --disable-pip-version-check "sslyze==$SSLYZE_VERSION"
      ;;
    testssl) command -v testssl >/dev/null || install testssl.sh testssl.sh ;;
    *) fail 2 "AUDITS names sslyze, testssl, or both; not $audit" ;;
    esac
  done
}

# ---- The broker ----

port() { sed -n "s/.*\"message\":\"listening\".*\"$1\":\"127.0.0.1:\([0-9]*\)\".*/\1/p" "$work/broker.log"; }

start_broker() {
  local broker _
  "$carillon" certs dev --out "$work/certs" >/dev/null
  echo '[roles.nothing]' >"$work/access.toml"
  cat >"$work/carillon.toml" <<TOML
[listen]
address = "127.0.0.1:0"
[tls]
certificate = "$work/certs/server.pem"
key = "$work/certs/server-key.pem"
[admin]
address = "127.0.0.1:0"
certificate = "$work/certs/server.pem"
key = "$work/certs/server-key.pem"
[access]
file = "$work/access.toml"
anonymous = true
anonymous_roles = ["nothing"]
[log]
format = "json"
TOML
  "$carillon" serve --config "$work/carillon.toml" >"$work/broker.log" 2>&1 &
  broker=$!
  for _ in {1..100}; do
    [[ -z $(port address) ]] || return 0
    kill -0 "$broker" 2>/dev/null || break
    sleep 0.1
  done
  fail 1 "the broker did not start" "$work/broker.log"
}

# ---- The audits: each gets NAME=PORT of every listener ----

sslyze() {
  local listener servers=()
  for listener; do servers+=("localhost:${listener#*=}"); done
  PYTHONWARNINGS=ignore "$venv/bin/sslyze" --certinfo_ca_file "$work/certs/ca.pem" --mozilla_config=intermediate \
    "${servers[@]}" >"$work/sslyze.log" 2>&1 || fail 1 "sslyze: not compliant" "$work/sslyze.log"
  # Its status is 0 also where it reached nothing.
  for listener; do
    grep -q "localhost:${listener#*=}: OK - Compliant" "$work/sslyze.log" ||
      fail 1 "sslyze did not judge the ${listener%=*} listener" "$work/sslyze.log"
    echo "sslyze $SSLYZE_VERSION: the ${listener%=*} listener complies with Mozilla's intermediate recommendation"
  done
}

testssl() {
  local listener name results=() tests=() number
  # Side by side, for it waits most of its time. No name is looked up, and nobody outside is asked.
  for listener; do
    name=${listener%=*}
    command testssl --quiet --color 0 --warnings batch --nodns none --add-ca "$work/certs/ca.pem" \
      --jsonfile-pretty "$work/$name.json" "https://localhost:${listener#*=}" >"$work/$name.log" 2>&1 </dev/null &
    tests+=($!)
    results+=("$name=$work/$name.json")
  done
  for number in "${!tests[@]}"; do
    name=${results[number]%%=*}
    wait "${tests[number]}" || fail 1 "testssl.sh did not finish with the $name listener (status $?)" "$work/$name.log"
  done
  python3 "$here/report.py" "$here/explained.toml" "${results[@]}"
}

set_up
start_broker
for audit in $AUDITS; do "$audit" "broker=$(port address)" "admin=$(port admin)"; done
