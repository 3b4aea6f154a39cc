//! Which policies judge which grant at which server.

use std::{collections::HashMap, sync::Arc};

use crate::policy::Policy;

/// One snapshot of every policy in force (ruling 23): all that apply are evaluated, strictest wins.
#[derive(Debug, Default)]
pub struct Rules {
    /// `[servers.X] policy`.
    pub by_server: HashMap<String, Vec<Arc<Policy>>>,
    /// `[grants.Y] policy` and `[grants.Y.servers.X] policy`: (grant, None | server).
    pub by_grant: HashMap<(String, Option<String>), Vec<Arc<Policy>>>,
}

impl Rules {
    /// Everything that applies; empty means: deny, `(no policy)`.
    #[must_use]
    pub fn of(&self, grant: &str, server: &str) -> Vec<Arc<Policy>> {
        let mut found = self.by_server.get(server).cloned().unwrap_or_default();
        for key in [(grant.to_owned(), None), (grant.to_owned(), Some(server.to_owned()))] {
            found.extend(self.by_grant.get(&key).into_iter().flatten().cloned());
        }
        found
    }
}
