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

# The fuzz targets, each for so many seconds; further words name targets, as in: just fuzz 600 json
fuzz seconds="20" *targets:
    fuzz/run {{ seconds }} {{ targets }}

# The Autobahn test suite against relay with an echo script.
autobahn:
    .ci/run autobahn

# The benchmarks: relay, dispatch, wire, isolation; as in: just bench relay --full
bench name *words:
    cargo bench --bench {{ name }} -- {{ words }}

# The soak: twenty minutes of churn, or as many as are said, and the slopes of memory and descriptors.
soak minutes="20":
    cargo bench --bench soak -- {{ minutes }}

# All that has to hold before a merge.
ci:
    .ci/run
