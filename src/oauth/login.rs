//! One sign-in: from the server's refusal to a link for a person, and from their return to tokens.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use rand::distr::{Alphanumeric, SampleString as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    Account, Accounts,
    account::{error_of, word},
    accounts::lock,
    credential::{Client, Credential, Tokens},
    introduce::Found,
};
use crate::call::Timestamp;

/// A link that nobody followed is void after this.
const GOOD_FOR: Duration = Duration::from_secs(10 * 60);
/// Sign-ins under way at a time.
const MOST: usize = 100;

/// A sign-in that waits for its person to come back.
pub(super) struct Pending {
    id: String,
    account: Account,
    found: Found,
    client: Client,
    verifier: String,
    /// Asked for.
    scopes: Vec<String>,
    until: Timestamp,
}

/// How far a sign-in is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stage {
    Waiting,
    Done,
    Failed(String),
}

pub(super) struct Progress {
    stage: Stage,
    until: Timestamp,
}

/// What a person must do, and the name under which the sign-in is asked after.
pub struct Begun {
    pub link: String,
    pub id: String,
    /// What it asks for.
    pub scopes: Vec<String>,
}

/// What the authorization server sends back with the person.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub struct Return {
    pub state: String,
    pub code: Option<String>,
    pub iss: Option<String>,
    pub error: Option<String>,
}

impl Account {
    /// Finds the authorization server, introduces the broker to it, and makes the link to sign in.
    ///
    /// # Errors
    /// In words for the operator.
    pub async fn begin(&self) -> Result<Begun, String> {
        let found = self.find().await?;
        let client = self.introduce(&found).await?;
        let scopes = self.held().map(|held| held.scopes.clone()).unwrap_or_default().to_ask(&found.scope);
        let (state, verifier, id) = (secret(), secret(), secret());
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let mut link = found.authorization_endpoint.clone();
        link.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", &self.accounts.0.us.redirect)
            .append_pair("state", &state)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &found.resource);
        if !scopes.is_empty() {
            link.query_pairs_mut().append_pair("scope", &scopes.join(" "));
        }
        let until = self.accounts.later();
        let account = self.clone();
        let asked = scopes.clone();
        let pending = Pending { id: id.clone(), account, found, client, verifier, scopes, until };
        self.accounts.wait_for(state, pending)?;
        Ok(Begun { link: link.into(), id, scopes: asked })
    }
}

impl Accounts {
    fn later(&self) -> Timestamp {
        Timestamp(self.now().0.saturating_add(i64::try_from(GOOD_FOR.as_millis()).unwrap_or(i64::MAX)))
    }

    fn wait_for(&self, state: String, pending: Pending) -> Result<(), String> {
        let now = self.now();
        let mut all = lock(&self.0.pending);
        all.retain(|_, pending| pending.until > now);
        if all.len() >= MOST {
            return Err("too many sign-ins are under way; try again in ten minutes".into());
        }
        let mut progress = lock(&self.0.progress);
        progress.retain(|_, progress| progress.until > now);
        progress.insert(pending.id.clone(), Progress { stage: Stage::Waiting, until: pending.until });
        all.insert(state, pending);
        Ok(())
    }

    /// How far the sign-in of that name is; `None` when there is none, or no longer.
    #[must_use]
    pub fn stage(&self, id: &str) -> Option<Stage> {
        let now = self.now();
        lock(&self.0.progress).get(id).filter(|p| p.until > now).map(|p| p.stage.clone())
    }

    /// A person came back: spends the state and the code, keeps the tokens. The name of the server.
    ///
    /// # Errors
    /// In words for that person. The state is spent all the same.
    pub async fn finish(&self, back: Return) -> Result<String, String> {
        let pending = lock(&self.0.pending).remove(&back.state);
        let pending = pending.filter(|pending| pending.until > self.now()).ok_or(
            "this link to sign in is used up, too old, or of another broker; make a new one with \
             `countersign servers login NAME`",
        )?;
        let (id, name) = (pending.id.clone(), pending.account.name.clone());
        let work = async move { pending.complete(back).await };
        let done = self.whole(work).await;
        let stage = match &done {
            Ok(()) => Stage::Done,
            Err(why) => Stage::Failed(why.clone()),
        };
        lock(&self.0.progress).insert(id, Progress { stage, until: self.later() });
        match &done {
            Ok(()) => tracing::info!(server.name = name, "signed in"),
            Err(why) => tracing::warn!(server.name = name, why, "a sign-in failed"),
        }
        done.map(|()| name)
    }
}

impl Pending {
    async fn complete(self, back: Return) -> Result<(), String> {
        self.is_from_whom_we_asked(back.iss.as_deref())?;
        if let Some(error) = &back.error {
            return Err(format!("the authorization server says: {}", word(error)));
        }
        let code = back.code.ok_or("the authorization server sent no code")?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", &self.account.accounts.0.us.redirect),
            ("code_verifier", &self.verifier),
            ("resource", &self.found.resource),
        ];
        let endpoint = self.found.token_endpoint.as_str();
        let fetched = self.account.at_token_endpoint(endpoint, &self.client, &form).await?;
        if fetched.status != StatusCode::OK {
            return Err(format!("the authorization server refused the code: {}", error_of(&fetched)));
        }
        let accounts = &self.account.accounts;
        let body = fetched.body.unwrap_or_default();
        let tokens = Tokens::parse(&body, None, accounts.now())?;
        // A renewal of the sign-in before, or a refusal of it, would write over this one.
        let _one = self.account.renewing.lock().await;
        let before = self.account.held().map(|held| held.scopes.clone()).unwrap_or_default();
        let given = body.get("scope").and_then(Value::as_str);
        let credential = Credential {
            server: self.account.url.to_string(),
            issuer: self.found.issuer,
            token_endpoint: self.found.token_endpoint.to_string(),
            resource: self.found.resource,
            client: self.client,
            tokens,
            scopes: before.signed_in(self.scopes, given),
        };
        accounts.0.vault.put(&self.account.name, credential)
    }

    /// RFC 9207: another authorization server could send its own code back under our state.
    fn is_from_whom_we_asked(&self, iss: Option<&str>) -> Result<(), String> {
        match iss {
            Some(iss) if iss == self.found.issuer => Ok(()),
            None if !self.found.says_iss => Ok(()),
            Some(_) | None => {
                Err("the answer is of another authorization server than the one that was asked; \
                                   nothing was sent to either"
                    .into())
            }
        }
    }
}

/// 256 bits and more: 44 of 62 characters.
fn secret() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 64)
}
