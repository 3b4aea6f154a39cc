//! The sandbox MCP server on stdio; placeholder until the demo brings the real one.

use std::process::ExitCode;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    anyhow::bail!("the sandbox server is not built in yet")
}
