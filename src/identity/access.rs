//! Agents that bring an access token of the organisation's authorization server, beside grant tokens.

use std::sync::Arc;

use super::{Grant, Identity};
use crate::{
    call::Timestamp,
    oauth::{Fetch, Refused, Resource, ResourceSettings},
};

impl Identity {
    /// From here on, access tokens of this issuer are taken; of none with `None`. Unchanged settings keep
    /// the keys and what they proved.
    pub fn set_issuer(&self, settings: Option<ResourceSettings>, fetch: Option<Fetch>) {
        let before = self.resource.load_full();
        if before.as_ref().map(|resource| resource.settings()) == settings.as_ref() {
            return;
        }
        let resource = settings.zip(fetch).map(|(settings, fetch)| Arc::new(Resource::new(settings, fetch)));
        self.resource.store(resource);
    }

    /// Whose access tokens are taken.
    #[must_use]
    pub fn issuer(&self) -> Option<String> {
        self.resource.load().as_ref().map(|resource| resource.settings().issuer.clone())
    }

    /// The scopes that an access token must have.
    #[must_use]
    pub fn scopes_of_access(&self) -> Vec<String> {
        self.resource.load().as_ref().map(|resource| resource.settings().scopes.clone()).unwrap_or_default()
    }

    /// The grant that an access token stands for at the resource whose addresses are `ours`; `None` where no
    /// issuer is configured. A grant that is revoked is so at once, however long the token lives.
    ///
    /// # Errors
    /// `Refused`: the token is not valid here and now, or opens nothing, or nobody can say.
    pub async fn grant_of_access(
        &self,
        token: &str,
        ours: &[&str],
        now: Timestamp,
    ) -> Result<Option<Arc<Grant>>, Refused> {
        let Some(resource) = self.resource.load_full() else { return Ok(None) };
        let name = resource.grant(token, ours, now).await?;
        let grant = self.directory().agents.get(&name).cloned();
        grant.map(Some).ok_or(Refused::Lacking("its agent does not exist, or not any more"))
    }
}
