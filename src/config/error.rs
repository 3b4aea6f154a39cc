//! What is wrong with a configuration: where, what, and what to do next.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::advice;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: {error}\n  write that file, or start without --config to use the embedded defaults", path.display())]
    Unreadable { path: PathBuf, error: String },
    #[error("{}:{line}:{column}: {message}\n  {hint}", path.display())]
    Syntax { path: PathBuf, line: usize, column: usize, message: String, hint: String },
    #[error("{}:{line}: {message}\n  {hint}", path.display())]
    At { path: PathBuf, line: usize, message: String, hint: String },
    #[error("the environment variable {variable}: {message}\n  {hint}")]
    Override { variable: String, message: String, hint: String },
    #[error("{0}")]
    Policy(String),
}

impl ConfigError {
    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let line = text[..offset].matches('\n').count() + 1;
        let written = text[start..].lines().next().unwrap_or_default();
        let (message, hint) = advice::on(error.message(), written);
        Self::Syntax { path: path.to_owned(), line, column: offset - start + 1, message, hint }
    }

    /// The same of what `variable` says instead of the file.
    pub(super) fn blamed_on(self, variable: String) -> Self {
        match self {
            Self::Syntax { message, hint, .. } | Self::At { message, hint, .. } => {
                Self::Override { hint: format!("{hint}; or unset {variable}"), variable, message }
            }
            Self::Unreadable { .. } | Self::Override { .. } | Self::Policy(_) => self,
        }
    }
}

/// The line of the table or key at `path`, such as `servers.search.url`; of what it would stand in where it
/// is not written out; 1 where nothing of it is.
pub(super) fn line_of(text: &str, path: &str) -> usize {
    let offset = DeTable::parse(text).ok().and_then(|table| offset_of(table.get_ref(), path)).unwrap_or(0);
    text[..offset.min(text.len())].matches('\n').count() + 1
}

/// Names may have dots of their own.
fn offset_of(table: &DeTable<'_>, path: &str) -> Option<usize> {
    table.iter().find_map(|(key, value)| {
        let here = key.span().start;
        let rest = path.strip_prefix(&**key.get_ref())?;
        if rest.is_empty() {
            return Some(here);
        }
        let rest = rest.strip_prefix('.')?;
        Some(value.get_ref().as_table().and_then(|inner| offset_of(inner, rest)).unwrap_or(here))
    })
}
