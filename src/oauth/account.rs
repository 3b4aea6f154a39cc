//! One server's sign-in: the token to send, renewed before it ends.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::Url;
use serde_json::Value;

use super::{
    Accounts, Standing, challenge,
    credential::{Client, Credential, Tokens},
    fetch::Fetched,
    scopes,
};

/// A server that refuses a token this young refuses the next one too.
const YOUNG: Duration = Duration::from_secs(30);

/// `[servers.X.oauth]` of the configuration, secrets read.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ClientSettings {
    /// Asked for at sign-in; what the server names when empty.
    pub scopes: Vec<String>,
    /// Registered beforehand; else the broker introduces itself.
    pub client_id: Option<String>,
    pub client_secret: Option<String>,
    /// Where it was registered: no other authorization server is told of it.
    pub issuer: Option<String>,
}

impl std::fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scopes, client_id, issuer, .. } = self;
        let mut shown = f.debug_struct("ClientSettings");
        shown.field("scopes", scopes).field("client_id", client_id).field("issuer", issuer).finish()
    }
}

/// A server that wants access tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Account {
    pub(super) name: String,
    pub(super) url: Url,
    pub(super) settings: ClientSettings,
    pub(super) accounts: Accounts,
    pub(super) renewing: Arc<tokio::sync::Mutex<()>>,
}

/// What goes into the Authorization header, and which renewal it is of.
#[derive(Clone, Debug)]
pub struct Bearer {
    pub header: HeaderValue,
    pub serial: u64,
}

impl Account {
    /// The token to send now; one that is about to end is renewed first.
    ///
    /// # Errors
    /// In words for the agent: who must do what.
    pub async fn bearer(&self) -> Result<Bearer, String> {
        let held = self.held().ok_or_else(|| self.sign_in("nobody has signed in at it yet"))?;
        if held.tokens.is_due(self.accounts.now()) {
            return self.renew(held.tokens.serial).await;
        }
        self.of(&held)
    }

    /// What to tell the agent whose request was refused, if it was refused for the broker's token (401), or
    /// for what that token may do (403, RFC 6750). Such a request cannot have run.
    pub async fn refused(&self, bearer: &Bearer, status: StatusCode, headers: &HeaderMap) -> Option<String> {
        if status == StatusCode::UNAUTHORIZED {
            return Some(self.renewed(bearer).await);
        }
        if status != StatusCode::FORBIDDEN {
            return None;
        }
        let challenges = challenge::bearer(headers);
        let lacks = challenges.into_iter().find(|one| one.error.as_deref() == Some("insufficient_scope"))?;
        let named = scopes::parse(lacks.scope.as_deref().unwrap_or_default());
        let (account, serial) = (self.clone(), bearer.serial);
        let work = async move { Ok(account.lacks(serial, &named).await) };
        Some(self.accounts.whole(work).await.unwrap_or_else(|why| why))
    }

    /// Keeps which scopes the server finds missing, for the next sign-in. Nothing is asked for or sent here:
    /// only a person can agree to more.
    async fn lacks(&self, serial: u64, named: &[String]) -> String {
        // A renewal that is under way would write over it.
        let _one = self.renewing.lock().await;
        let Some(held) = self.held() else { return self.sign_in("its sign-in is gone") };
        if held.tokens.serial != serial {
            return format!(
                "the server {} refused a token of the broker's that has been replaced since, so nothing was run: \
                 call again",
                self.name
            );
        }
        let mut fresh = Credential::clone(&held);
        if fresh.scopes.refuse(named) {
            let why = fresh.scopes.why(&self.name);
            tracing::warn!(server.name = self.name, why, "the server finds a scope missing");
            if let Err(why) = self.accounts.0.vault.put(&self.name, fresh.clone()) {
                tracing::error!(server.name = self.name, why, "the missing scopes could not be kept");
            }
        }
        fresh.scopes.why(&self.name)
    }

    /// Must a person sign the broker in, and for what?
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.held().map_or_else(Standing::needed, |held| held.standing(self.accounts.now()))
    }

    /// The server refused this token: renews it. The sentence is for the agent whose request it was.
    async fn renewed(&self, bearer: &Bearer) -> String {
        if let Some(held) = self.held().filter(|held| held.tokens.serial == bearer.serial) {
            let age = self.accounts.now().0.saturating_sub(held.tokens.obtained.0);
            if age < i64::try_from(YOUNG.as_millis()).unwrap_or(i64::MAX) {
                return self.sign_in("it refuses a token that it has just been given");
            }
            if held.tokens.refresh.is_none() {
                return self.sign_in("it refuses the token, which cannot be renewed");
            }
        }
        match self.renew(bearer.serial).await {
            Ok(_) => "the server refused the broker's access token, so nothing was run; the token has been \
                      renewed: call again"
                .to_owned(),
            Err(why) => why,
        }
    }

    /// Which renewal is held.
    #[must_use]
    pub fn serial(&self) -> Option<u64> {
        self.held().map(|held| held.tokens.serial)
    }

    /// Only what was obtained for this very address.
    pub(super) fn held(&self) -> Option<Arc<Credential>> {
        self.accounts.0.vault.get(&self.name).filter(|held| held.server == self.url.as_str())
    }

    fn of(&self, held: &Credential) -> Result<Bearer, String> {
        let header = held.tokens.header().ok_or_else(|| self.sign_in("its token cannot be sent"))?;
        Ok(Bearer { header, serial: held.tokens.serial })
    }

    /// One at a time, and whole: the agent that waits for it may leave, the new token must not be lost.
    async fn renew(&self, serial: u64) -> Result<Bearer, String> {
        let account = self.clone();
        let work = async move {
            let _one = account.renewing.lock().await;
            let held = account.held().ok_or_else(|| account.sign_in("its sign-in is gone"))?;
            if held.tokens.serial != serial {
                // Another was faster.
                return account.of(&held);
            }
            account.refresh(&held).await
        };
        self.accounts.whole(work).await
    }

    async fn refresh(&self, held: &Credential) -> Result<Bearer, String> {
        let now = self.accounts.now();
        let Some(refresh) = held.tokens.refresh.as_deref().filter(|_| !held.tokens.access.is_empty()) else {
            return Err(self.sign_in("its sign-in is over"));
        };
        let form =
            [("grant_type", "refresh_token"), ("refresh_token", refresh), ("resource", &held.resource)];
        let answer = self.at_token_endpoint(&held.token_endpoint, &held.client, &form).await;
        let (over, why) = match answer {
            Ok(fetched) if fetched.status == StatusCode::OK => {
                let body = fetched.body.unwrap_or_default();
                let tokens = Tokens::parse(&body, Some(&held.tokens), now)?;
                let fresh = Credential { tokens, ..held.clone() };
                let bearer = self.of(&fresh)?;
                self.accounts.0.vault.put(&self.name, fresh)?;
                tracing::info!(server.name = self.name, "the access token is renewed");
                return Ok(bearer);
            }
            Ok(fetched) => {
                let error = error_of(&fetched);
                (error == "invalid_grant", format!("it cannot be renewed: {error}"))
            }
            Err(why) => (false, why),
        };
        tracing::warn!(server.name = self.name, why, "the access token could not be renewed");
        if over {
            let tokens = Tokens { access: String::new(), refresh: None, ..held.tokens.clone() };
            self.accounts.0.vault.put(&self.name, Credential { tokens, ..held.clone() })?;
            return Err(self.sign_in("its sign-in was ended by the authorization server"));
        }
        if held.tokens.is_over(now) {
            return Err(format!("the broker's access token for {} has expired, and {why}", self.name));
        }
        // It still holds: a later request will try again.
        self.of(held)
    }

    /// Posts a form as this client.
    pub(super) async fn at_token_endpoint(
        &self,
        endpoint: &str,
        client: &Client,
        form: &[(&str, &str)],
    ) -> Result<Fetched, String> {
        let url = super::fetch::address(endpoint, &self.url)?;
        // A configured secret may have been changed since the sign-in.
        let own = self.settings.client_id.as_ref() == Some(&client.id);
        let secret = if own { &self.settings.client_secret } else { &client.secret };
        let mut form = form.to_vec();
        let basic = match secret {
            Some(secret) if client.basic => Some((client.id.as_str(), secret.as_str())),
            secret => {
                form.push(("client_id", &client.id));
                form.extend(secret.as_deref().map(|secret| ("client_secret", secret)));
                None
            }
        };
        self.accounts.fetch()?.post_form(&url, &form, basic).await
    }

    /// What an operator must do.
    pub(super) fn sign_in(&self, why: &str) -> String {
        let name = &self.name;
        format!(
            "the server {name} wants a sign-in of the broker, and {why}; nothing was run. An operator must run: \
             countersign servers login {name}"
        )
    }
}

/// The error code of an OAuth answer, and nothing else of it: descriptions may repeat what was sent.
pub(super) fn error_of(fetched: &Fetched) -> String {
    let code = fetched.body.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
    match code {
        Some(code) => word(code),
        None => format!("status {}", fetched.status.as_u16()),
    }
}

/// A stranger's word, harmless in a log.
pub(super) fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "_.-".contains(*c)).take(64).collect()
}
