# Short names for what is run often. Nothing needs just: each recipe is one line that works without it.

# What CI runs.
check:
    .ci/run

# The tests; `just test --quick` leaves out the browser and the published servers.
test *options:
    tests/run {{options}}

# 200 deaths under load instead of the four of `cargo test`; about ten minutes.
crash cycles="200":
    COUNTERSIGN_CRASH_CYCLES={{cycles}} cargo test --release --test crash -- --nocapture

# A million frames at the door instead of the few thousand of `cargo test`.
frames cases="1000000":
    FRAMES_INPUTS={{cases}} cargo test --release --test frames

# Hostile servers and agents with a GiB of everything instead of 32 MiB; some minutes.
hold bytes="1073741824":
    COUNTERSIGN_HOLD_BYTES={{bytes}} cargo test --test hold -- --nocapture --test-threads 1 agents bounds servers pipes

# 1,000 sessions of ten agents for ten minutes, instead of 100 for 20 s; the broker is a release build.
soak seconds="600" sessions="1000" rate="500":
    cargo build --release
    COUNTERSIGN_HOLD_BROKER="$PWD/target/release/countersign" COUNTERSIGN_SOAK_SECONDS={{seconds}} \
        COUNTERSIGN_SOAK_SESSIONS={{sessions}} COUNTERSIGN_SOAK_RATE={{rate}} \
        cargo test --test hold -- --nocapture soak

# A hundred thousand messages with anything in them, through the whole broker, instead of 2,000; some minutes.
fuzz frames="100000":
    COUNTERSIGN_FUZZ_FRAMES={{frames}} cargo test --test hold -- --nocapture fuzz

# What the store can write.
bench:
    cargo bench --bench store

# The official conformance suite with every call approved within the grace, then after it, and the raw exchanges;
# about ten minutes. Needs a built broker.
conformance:
    tests/conformance/run --gated 300
    tests/conformance/run --gated 2000
    tests/conformance/run --joined --gated 300
    tests/conformance/run --client --gated 300
    tests/conformance/run --wire --gated 150

# Claude Code, with a mocked model, through the broker (360 MB more).
agents:
    tests/real/setup.sh --clients --agents
    python3 tests/real/run.py --agents

# Published clients and bridges that wait for a person, 5, 70 and 200 s, and the table of it; about four minutes, after
# first time (half a GB of packages, and rmcp to be built). Needs a built broker.
clients:
    tests/real/setup.sh --clients --agents --bridges --fastmcp --rmcp
    python3 tests/real/ladder.py --table tests/real/CLIENTS.md

# Known holes in dependencies; needs the advisory database, which is not on a package registry.
advisories:
    cargo deny check advisories

# The inbox on a stand-in server, for work on the page.
inbox:
    cd tests/web && npm ci --ignore-scripts && npm run fake
