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

# What the store can write.
bench:
    cargo bench --bench store

# The official conformance suite with every call approved within the grace, then after it, and the raw exchanges;
# about ten minutes. Needs a built broker.
conformance:
    tests/conformance/run --gated 300
    tests/conformance/run --gated 2000
    tests/conformance/run --client --gated 300
    tests/conformance/run --wire --gated 150

# Claude Code, with a mocked model, through the broker (360 MB more).
agents:
    tests/real/setup.sh --clients --agents
    python3 tests/real/run.py --agents

# Known holes in dependencies; needs the advisory database, which is not on a package registry.
advisories:
    cargo deny check advisories

# The inbox on a stand-in server, for work on the page.
inbox:
    cd tests/web && npm ci --ignore-scripts && npm run fake
