//! Command line to exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    countersign::cli::run()
}
