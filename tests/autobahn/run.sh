#!/usr/bin/env bash
# Runs the Autobahn test suite for WebSockets (its fuzzing client) against relay with an echo script,
# through relay's own accept path. Needs Python 2.7, which it is written in, Python 3.7 or later, and a
# C compiler. Ends with 77 where there is no Python 2.7.
#
# Left out: cases of compression (12, 13), which relay does not speak, and those whose messages are
# binary (1.2, 9.2, 9.4, 9.6, 9.8): relay carries text, takes a binary message for text, and refuses
# one that is not UTF-8 (docs/protocol.md).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

suite=25.10.1
virtualenv=20.21.1
dir=$PWD/target/autobahn

say() { printf '\n==> %s\n' "$*"; }

# An old Python as distributions had it, or as pyenv has it, whose command may stand for none.
python2=
for candidate in "$(command -v python2.7)" "$HOME"/.pyenv/versions/2.7.*/bin/python2.7; do
    if "$candidate" -c '' 2>/dev/null; then
        python2=$candidate
    fi
done
if [[ -z $python2 ]]; then
    echo "There is no Python 2.7, which the Autobahn test suite is written in (pyenv install 2.7.18)." >&2
    exit 77
fi

wstest=$dir/env-$suite/bin/wstest
if [[ ! -x $wstest ]]; then
    say "installing autobahntestsuite $suite in $dir, once"
    mkdir -p "$dir"
    python3 -m venv "$dir/tool"
    "$dir/tool/bin/pip" install --quiet "virtualenv==$virtualenv"
    "$dir/tool/bin/virtualenv" --quiet --python "$python2" "$dir/env-$suite"
    "$dir/env-$suite/bin/pip" install --quiet --no-python-version-warning "autobahntestsuite==$suite"
fi

relay_bin=${RELAY_BIN:-}
# To the relay itself it would be a key of the config.
unset RELAY_BIN
if [[ -z $relay_bin ]]; then
    # As the tests build it, so that nothing is built twice.
    say "cargo test --no-run"
    cargo test --locked --no-run --test it
    relay_bin=${CARGO_TARGET_DIR:-target}/debug/relay
fi

# Room for the largest cases, messages of 16 MiB, and nothing of relay's own between the echoes.
mib=$((1024 * 1024))
coproc relay {
    exec "$relay_bin" --config relay.toml --script tests/autobahn/echo.lua \
        --listen ws://127.0.0.1:0 --set control.socket= --set web.acks=false \
        --set limits.message_bytes_max=$((17 * mib)) --set limits.queue_bytes_max=$((64 * mib)) \
        --set script.call_timeout_ms=10000 2>"$dir/relay.log"
}
# The test ends it, however the test ends.
trap 'kill "${relay_PID:-}" 2>/dev/null || true' EXIT
if ! read -r _ _ url <&"${relay[0]}"; then
    cat "$dir/relay.log" >&2
    exit 1
fi

rm -rf "$dir/reports"
cat >"$dir/spec.json" <<END
{
  "outdir": "$dir/reports",
  "servers": [{ "agent": "relay", "url": "$url" }],
  "cases": ["*"],
  "exclude-cases": ["1.2.*", "9.2.*", "9.4.*", "9.6.*", "9.8.*", "12.*", "13.*"],
  "exclude-agent-cases": {}
}
END
say "wstest --mode fuzzingclient against $url"
"$wstest" --mode fuzzingclient --spec "$dir/spec.json" >"$dir/wstest.log" 2>&1 || true

# Its exit status says nothing: the report does. No exec, or nobody would end the relay.
python3 tests/autobahn/judge.py "$dir/reports/index.json"
