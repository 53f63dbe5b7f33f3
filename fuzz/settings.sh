# What run and keep share; both are in this directory.

# The coverage counters of the sanitizers are for nightly compilers; this compiler has them too.
export RUSTC_BOOTSTRAP=1 RUSTC_WRAPPER=$PWD/rustc

# What libFuzzer is told of a target: among others how long its inputs may be, which is long enough to
# exceed the limits that the target sets.
options() {
    case $1 in
        raw | websocket) echo -max_len=512 ;;
        handshake | proxy) echo -max_len=640 ;;
        json) echo -max_len=4096 ;;
        # Of these an input counts by what it reaches, not by how often, which costs as much as the
        # relay itself and found no more. 1024 bytes hold any table of relay.toml.
        config) echo -max_len=1024 -use_counters=0 -entropic=0 ;;
        connection) echo -max_len=4096 -use_counters=0 -entropic=0 ;;
    esac
}
