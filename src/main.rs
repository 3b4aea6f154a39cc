//! Command line to exit code.

use std::process::ExitCode;

/// A call is some dozens of short-lived pieces, many of them freed on another thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    countersign::cli::run()
}
