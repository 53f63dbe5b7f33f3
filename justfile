# A handful of recipes. CI runs the same commands: .ci/run holds them.

# What there is.
default:
    @just --list

# Run the relay with the shipped config.
run *flags:
    cargo run --release -- --config relay.toml {{ flags }}

# Format the source.
format:
    cargo fmt

# Clippy, with warnings denied.
lint:
    .ci/run lint

# Licences, bans, sources and known vulnerabilities of the dependencies.
deny:
    .ci/run deny

# Every test; further words go to cargo test, as in: just test --test it dialogues
test *words:
    tests/run.sh {{ words }}

# The benchmarks: relay, dispatch, wire, isolation; as in: just bench relay --full
bench name *words:
    cargo bench --bench {{ name }} -- {{ words }}

# All that has to hold before a merge.
ci:
    .ci/run
