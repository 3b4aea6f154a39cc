//! The scopes of a sign-in, and those that the server finds missing while it is used (RFC 6750, section 3.1).
//!
//! A refusal is a person's to answer: the broker keeps which scopes were named, the next sign-in asks for
//! them beside all that there were, and nothing is sent again by itself. Sign-ins that do not help are counted.

use serde::{Deserialize, Serialize};

/// Scopes that one server may name; what it names beyond is not kept.
const MOST: usize = 32;
const LONGEST: usize = 128;
/// After so many sign-ins in a row that did not help, another is not asked for.
const TRIES: u8 = 3;

/// Kept with the tokens.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Scopes {
    /// Asked for at the sign-in, and given at it.
    held: Vec<String>,
    /// Named by refusals: each later sign-in asks for them too.
    named: Vec<String>,
    /// Found missing since the sign-in.
    missing: Option<Vec<String>>,
    /// Sign-ins in a row that followed a refusal.
    tries: u8,
}

/// How the broker stands with a server that wants its sign-in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Standing {
    pub state: StandingState,
    /// Those that the server finds missing, if it named any.
    pub missing: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StandingState {
    /// A person must sign the broker in, or in again.
    Needed,
    Done,
    /// Sign-ins have not brought what the server finds missing.
    Refused,
}

impl StandingState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Needed => "needed",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

impl Standing {
    pub(super) fn needed() -> Self {
        Self { state: StandingState::Needed, missing: Vec::new() }
    }
}

impl Scopes {
    /// A refusal named these. False: that is known already.
    pub(super) fn refuse(&mut self, named: &[String]) -> bool {
        let is_known = |missing: &Vec<String>| named.iter().all(|scope| missing.contains(scope));
        if self.missing.as_ref().is_some_and(is_known) {
            return false;
        }
        let before = (self.missing.clone(), self.named.len());
        if !named.iter().all(|scope| self.held.contains(scope)) {
            // None of the sign-ins asked for these.
            self.tries = 0;
        }
        for scope in named {
            add(&mut self.named, scope);
        }
        let missing = self.missing.get_or_insert_default();
        for scope in named.iter().filter(|scope| self.named.contains(scope)) {
            add(missing, scope);
        }
        before != (self.missing.clone(), self.named.len())
    }

    /// A sign-in asked for `asked` and was given `given`; what was known before it is in `self`.
    pub(super) fn signed_in(self, asked: Vec<String>, given: Option<&str>) -> Self {
        let mut held = asked;
        for scope in parse(given.unwrap_or_default()) {
            if !held.contains(&scope) {
                held.push(scope);
            }
        }
        let tries = if self.missing.is_some() { self.tries.saturating_add(1) } else { self.tries };
        // Named while the person was away.
        let mut late = self.missing.unwrap_or_default();
        late.retain(|scope| !held.contains(scope));
        let missing = (!late.is_empty()).then_some(late);
        Self { held, named: self.named, missing, tries }
    }

    /// What the next sign-in asks for, where it would ask for `base` by itself.
    pub(super) fn to_ask(&self, base: &str) -> Vec<String> {
        let mut asked = Vec::new();
        let held = self.held.iter().filter(|_| self.missing.is_some());
        let base = base.split_ascii_whitespace().map(str::to_owned);
        for scope in base.chain(held.chain(&self.named).cloned()) {
            if !asked.contains(&scope) {
                asked.push(scope);
            }
        }
        asked
    }

    /// `None`: nothing is missing.
    pub(super) fn standing(&self) -> Option<Standing> {
        let missing = self.missing.clone()?;
        let was_asked = missing.iter().all(|scope| self.held.contains(scope));
        let state =
            if was_asked && self.tries >= TRIES { StandingState::Refused } else { StandingState::Needed };
        Some(Standing { state, missing })
    }

    /// What is wrong, for the agent and the log; nothing is missing when it is not called after a refusal.
    pub(super) fn why(&self, server: &str) -> String {
        let missing = self.missing.as_deref().unwrap_or_default();
        let (what, tries) = (phrase(missing), self.tries);
        let run = format!("countersign servers login {server}");
        let asked = tries > 0 && missing.iter().all(|scope| self.held.contains(scope));
        if asked && tries >= TRIES {
            return format!(
                "the server {server} finds {what} missing in the broker's access token, after {tries} sign-ins \
                 that asked for more; nothing was run, and another sign-in alone will not help. An operator must \
                 see to it that the account that signs in may have it, and then run: {run}"
            );
        }
        let still = if asked { "still " } else { "" };
        format!(
            "the server {server} {still}finds {what} missing in the broker's access token; nothing was run. An \
             operator must run, and sign in with an account that may have it: {run}"
        )
    }
}

/// `the scope a`, `the scopes a b`, or what is left to say when the server named none.
fn phrase(scopes: &[String]) -> String {
    match scopes {
        [] => "a scope that it does not name".to_owned(),
        [one] => format!("the scope {one}"),
        many => format!("the scopes {}", many.join(" ")),
    }
}

fn add(list: &mut Vec<String>, scope: &str) {
    if list.len() < MOST && !list.iter().any(|known| known == scope) {
        list.push(scope.to_owned());
    }
}

/// The words of a `scope` that can be scopes (RFC 6749, section 3.3); a stranger's other words are left out.
pub(super) fn parse(text: &str) -> Vec<String> {
    let mut scopes = Vec::new();
    text.split_ascii_whitespace().filter(|word| is_scope(word)).for_each(|word| add(&mut scopes, word));
    scopes
}

pub(super) fn is_scope(word: &str) -> bool {
    (1..=LONGEST).contains(&word.len())
        && word.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn each_sign_in_asks_for_all_that_was_ever_needed() {
        let mut scopes = Scopes::default().signed_in(words("read"), Some("read profile"));
        assert_eq!((scopes.standing(), scopes.to_ask("read")), (None, words("read")));
        assert!(scopes.refuse(&words("write")));
        assert!(!scopes.refuse(&words("write")), "known, so nothing is to be kept");
        assert!(scopes.refuse(&words("admin")));
        assert_eq!(scopes.to_ask("read"), words("read profile write admin"));
        // Named while the person was away: the sign-in has not asked for it.
        let asked = scopes.to_ask("read");
        assert!(scopes.refuse(&words("late")));
        let mut scopes = scopes.signed_in(asked, None);
        let standing = scopes.standing().unwrap();
        assert_eq!((standing.state, standing.missing), (StandingState::Needed, words("late")));
        let asked = scopes.to_ask("read");
        scopes = scopes.signed_in(asked, None);
        assert_eq!(scopes.standing(), None);
        // Long after, without a refusal: what was named is not lost.
        assert_eq!(scopes.to_ask("read"), words("read write admin late"));
    }

    #[test]
    fn sign_ins_that_do_not_help_are_counted() {
        for named in ["", "write"] {
            let named = parse(named);
            let mut scopes = Scopes::default().signed_in(words("read"), None);
            for tries in 0..5 {
                assert!(scopes.refuse(&named));
                let state = scopes.standing().unwrap().state;
                let is_over = tries >= TRIES;
                assert_eq!(state == StandingState::Refused, is_over, "{named:?} after {tries}");
                assert_eq!(scopes.why("it").contains("will not help"), is_over);
                let asked = scopes.to_ask("read");
                scopes = scopes.signed_in(asked, None);
            }
            // Another scope is another matter.
            assert!(scopes.refuse(&words("other")));
            assert_eq!(scopes.standing().unwrap().state, StandingState::Needed);
        }
    }

    #[test]
    fn a_server_cannot_name_without_end() {
        let mut scopes = Scopes::default();
        let kept = (0..1000).filter(|n| scopes.refuse(&[format!("s{n}")])).count();
        assert_eq!((kept, scopes.to_ask("").len()), (MOST, MOST));
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(parse(&format!("a {long} b\"c d\\e é f:g/h a")), words("a f:g/h"));
    }
}
