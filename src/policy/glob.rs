//! Names of tools, exact or with `*` (any run) and `?` (any one character).

use std::collections::HashSet;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Glob(String);

impl Glob {
    /// `None` when the name has no wildcard: then it is an exact name.
    pub fn new(name: &str) -> Option<Self> {
        name.contains(['*', '?']).then(|| Self(name.to_owned()))
    }

    /// Tries the tool's name, and `server/tool` when the pattern names a server.
    pub fn matches(&self, server: &str, tool: &str) -> bool {
        wild(&self.0, tool) || (self.0.contains('/') && wild(&self.0, &qualified(server, tool)))
    }
}

/// `server/tool`, as keys of a policy for several servers have it.
pub(super) fn qualified(server: &str, tool: &str) -> String {
    format!("{server}/{tool}")
}

/// A set of names and globs.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashSet<String>,
    globs: Vec<Glob>,
    /// Some exact name has a slash: only then `server/tool` must be looked up.
    slashed: bool,
}

impl Names {
    pub fn insert(&mut self, name: &str) {
        match Glob::new(name) {
            Some(glob) => self.globs.push(glob),
            None => {
                self.slashed |= name.contains('/');
                self.exact.insert(name.to_owned());
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.globs.is_empty()
    }

    pub fn contains(&self, server: &str, tool: &str) -> bool {
        self.exact.contains(tool)
            || (self.slashed && self.exact.contains(&qualified(server, tool)))
            || self.globs.iter().any(|glob| glob.matches(server, tool))
    }
}

/// Linear in practice: on a mismatch only the latest `*` takes one character more.
fn wild(pattern: &str, name: &str) -> bool {
    let (mut rest, mut at) = (pattern, name);
    let mut retry: Option<(&str, &str)> = None;
    loop {
        let wanted = rest.chars().next();
        let found = at.chars().next();
        match (wanted, found) {
            (None, None) => return true,
            (Some('*'), _) => {
                rest = &rest[1..];
                retry = Some((rest, at));
            }
            (Some(w), Some(f)) if w == '?' || w == f => {
                rest = &rest[w.len_utf8()..];
                at = &at[f.len_utf8()..];
            }
            _ => {
                let Some((star, from)) = retry else { return false };
                let Some(skipped) = from.chars().next() else { return false };
                rest = star;
                at = &from[skipped.len_utf8()..];
                retry = Some((star, at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wild;

    #[test]
    fn a_star_is_any_run_and_a_question_mark_is_one_character() {
        assert!(wild("*", "") && wild("*", "x") && wild("a*c", "abbc") && wild("a*b*c", "aXbYbZc"));
        assert!(wild("?é", "xé") && wild("DeleteAHO*", "DeleteAHORunBatch"));
        assert!(
            !wild("a*c", "abbd")
                && !wild("?", "")
                && !wild("get_*", "Get_x")
                && !wild("a", "ab")
                && !wild("a*bc", "abXc")
        );
    }
}
