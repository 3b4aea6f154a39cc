//! What is wrong with a configuration: where, what, and what to do next.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: {error}\n  write that file, or start without --config to use the embedded defaults", path.display())]
    Unreadable { path: PathBuf, error: String },
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax { path: PathBuf, line: usize, column: usize, message: String },
    #[error("{}:{line}: {message}\n  {hint}", path.display())]
    At { path: PathBuf, line: usize, message: String, hint: String },
    #[error("an environment override does not fit: {0}")]
    Override(String),
    #[error("{0}")]
    Policy(String),
}

impl ConfigError {
    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = offset - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        Self::Syntax { path: path.to_owned(), line, column, message: error.message().to_owned() }
    }
}

/// The line on which the table or key `header` begins; 1 when it is not written out.
pub(super) fn line_of(text: &str, header: &str) -> usize {
    let table = format!("[{header}]");
    let key = format!("{header} ");
    let found = text.lines().position(|line| {
        let line = line.trim_start();
        line.starts_with(&table) || line.starts_with(&key) || line.starts_with(&format!("{header}="))
    });
    found.map_or(1, |index| index + 1)
}
