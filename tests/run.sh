#!/usr/bin/env bash
# Runs every test there is, on a machine with the Rust toolchain and a C++ compiler. Installs what
# else the tests need from the distribution's packages, and ends with the runner's own summary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n==> %s\n' "$*"; }

# What has to be there: a command and the Debian package that has it. The compilers build Luau and
# the cryptography of TLS; the toolchain has to come first, with rustup. Node plays web clients, and PHP
# backends; netcat and OpenSSL run what one copies from the test page.
needs=(
    "cc gcc"
    "c++ g++"
    "node nodejs"
    "npm npm"
    "chromium chromium"
    "nc netcat-openbsd"
    "openssl openssl"
    "php php-cli"
    "phpunit phpunit"
)

missing=()
for need in "${needs[@]}"; do
    read -r command package <<<"$need"
    command -v "$command" >/dev/null || missing+=("$package")
done

if ((${#missing[@]} == 0)); then
    say "nothing to install"
else
    say "installing: ${missing[*]}"
    as_root=()
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "These packages are missing: ${missing[*]}. Install them, or run this as root." >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    if ! command -v apt-get >/dev/null; then
        echo "These packages are missing: ${missing[*]}. There is no apt-get here: install them by hand." >&2
        exit 1
    fi
    "${as_root[@]}" apt-get update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
fi

if ! command -v cargo >/dev/null; then
    echo "There is no cargo: install the Rust toolchain with rustup (https://rustup.rs)." >&2
    exit 1
fi

# Distributions are slow with Node: an old one fetches a newer one, for these tests alone.
has_websocket() { node --experimental-websocket --eval WebSocket 2>/dev/null; }
if ! has_websocket; then
    say "Node $(node --version) has no WebSocket: npm install node@22, in target/node"
    mkdir -p target/node
    npm install --prefix target/node --no-audit --no-fund --loglevel=error node@22
    PATH="$PWD/target/node/node_modules/node/bin:$PATH"
    if ! has_websocket; then
        echo "Node $(node --version) has no WebSocket: install version 20.10 or later." >&2
        exit 1
    fi
fi

# A thousand clients and the relay's ends of their connections live in one process, and the shipped
# config promises 10,000 connections.
if ! ulimit -n "$(ulimit -Hn)" 2>/dev/null; then
    echo "The limit of open files stays at $(ulimit -n)."
fi
say "open files: $(ulimit -n)"

# Without the documentation's examples, of which there are none: their empty summary would be the last.
say "cargo test --locked"
cargo test --locked --no-fail-fast --lib --bins --tests "$@"

# Words are for cargo test alone.
(($# == 0)) || exit 0

# Against the relay that cargo has built.
export RELAY_BIN="${CARGO_TARGET_DIR:-$PWD/target}/debug/relay"

say "phpunit in clients/php"
(cd clients/php && phpunit)

for package in clients/web tests/browser; do
    say "npm ci in $package"
    npm ci --prefix "$package" --no-audit --no-fund --loglevel=error
done

# The flag is for Node 20; later ones take it too.
say "node --test"
exec node --test --test-reporter=tap --experimental-websocket \
    clients/web/test/*.test.js tests/browser/*.test.js
