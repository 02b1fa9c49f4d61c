#!/usr/bin/env bash
# Runs Autobahn|Testsuite's fuzzing client against the echo example over TLS, and fails on any case that is not OK or
# informational, or that takes more than five seconds. The suite is Python 2.7 code; all else is set up here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
work=${CARGO_TARGET_DIR:-target}/autobahn
port=${AUTOBAHN_PORT:-19443}
mkdir -p "$work"

# A name on the path may be a stand-in that only tells which versions there are, so each candidate is tried.
python27=
for candidate in "${PYTHON27:-}" python2.7 "$HOME"/.pyenv/versions/2.7.*/bin/python2.7; do
  if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
    python27=$(command -v "$candidate")
    break
  fi
done
if [ -z "$python27" ]; then
  echo 'Autobahn|Testsuite needs a Python 2.7, and none was found. Name one: make autobahn PYTHON27=/path/to/python2.7' >&2
  exit 2
fi
if [ ! -x "$work/v27/bin/wstest" ]; then
  python3 -m venv "$work/v"
  "$work/v/bin/pip" install --quiet 'virtualenv==20.21.1'
  "$work/v/bin/virtualenv" --quiet -p "$python27" "$work/v27"
  "$work/v27/bin/pip" install --quiet --no-python-version-warning txaio==2.1.0 incremental==16.10.1 pyOpenSSL==19.1.0 \
    cryptography==3.3.2 Twisted==19.10.0 zope.interface==4.6.0 jinja2==2.11.3 markupsafe==1.1.1 Werkzeug==1.0.1 \
    klein==17.10.0 service_identity==18.1.0 unittest2==1.1.0 six==1.16.0 autobahn==0.10.9 wsaccel==0.6.2
  "$work/v27/bin/pip" install --quiet --no-python-version-warning --no-deps autobahntestsuite==25.10.1
fi

cargo build --quiet --release --package carillon-listener --example echo
cargo build --quiet --package carillon
target=${CARGO_TARGET_DIR:-target}
rm -rf "$work/certs" "$work/reports"
"$target/debug/carillon" certs dev --out "$work/certs" >/dev/null
"$target/release/examples/echo" "127.0.0.1:$port" "$work/certs/server.pem" "$work/certs/server-key.pem" >"$work/echo.log" 2>&1 &
echo_pid=$!
trap 'kill "$echo_pid" 2>/dev/null || true' EXIT
sleep 1

cat >"$work/spec.json" <<JSON
{"outdir": "$work/reports", "servers": [{"agent": "carillon", "url": "wss://127.0.0.1:$port"}],
 "cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {}}
JSON
"$work/v27/bin/wstest" -m fuzzingclient -s "$work/spec.json" >"$work/wstest.log" 2>&1
python3 crates/listener/autobahn/report.py "$work/reports/index.json"
