//! Which policies judge which grant at which server, and what they say.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    call::Timestamp,
    policy::{Evaluation, Facts, Policy, evaluate},
};

/// One snapshot of every policy in force (ruling 23): all that apply are evaluated, strictest wins.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// `[servers.X] policy`.
    pub by_server: HashMap<String, Vec<Arc<Policy>>>,
    /// `[grants.Y] policy` and `[grants.Y.servers.X] policy`.
    pub by_grant: HashMap<String, GrantRules>,
    /// Version of the `policies` stream that this snapshot reflects.
    pub version: u64,
}

#[derive(Clone, Debug, Default)]
pub struct GrantRules {
    pub everywhere: Vec<Arc<Policy>>,
    pub by_server: HashMap<String, Vec<Arc<Policy>>>,
}

impl Rules {
    /// Everything that applies; empty means: deny, `(no policy)`.
    #[must_use]
    pub fn of(&self, grant: &str, server: &str) -> Vec<&Policy> {
        let own = self.by_grant.get(grant);
        let lists = [
            self.by_server.get(server),
            own.map(|rules| &rules.everywhere),
            own.and_then(|rules| rules.by_server.get(server)),
        ];
        lists.into_iter().flatten().flatten().map(AsRef::as_ref).collect()
    }

    /// How far back limits look; `None` where nothing outlives a minute.
    #[must_use]
    pub fn longest_window(&self) -> Option<Duration> {
        let own = self.by_grant.values();
        let own = own.flat_map(|rules| rules.everywhere.iter().chain(rules.by_server.values().flatten()));
        self.by_server.values().flatten().chain(own).filter_map(|policy| policy.longest_window()).max()
    }

    /// The verdict of all policies that apply, and their names as it stands in `request.policy`.
    #[must_use]
    pub fn judge(&self, facts: &Facts<'_>) -> (Evaluation, Arc<str>) {
        let applying = self.of(facts.agent, facts.server);
        (evaluate(&applying, facts), digest(&applying))
    }

    /// Names the policies that judge this grant at this server, as it stands in `request.policy`.
    #[must_use]
    pub fn digest(&self, grant: &str, server: &str) -> Arc<str> {
        digest(&self.of(grant, server))
    }
}

fn digest(policies: &[&Policy]) -> Arc<str> {
    match policies {
        [] => Arc::default(),
        [only] => Arc::clone(&only.digest),
        all => all.iter().map(|policy| &*policy.digest).collect::<Vec<&str>>().join("+").into(),
    }
}

/// The facts of a request, for the policy.
#[must_use]
pub fn facts<'a>(
    agent: &'a str,
    server: &'a str,
    tool: &'a str,
    arguments: &'a [u8],
    session: Option<&'a str>,
    now: Timestamp,
) -> Facts<'a> {
    Facts { agent, server, tool, arguments, session, now }
}
