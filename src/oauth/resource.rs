//! The broker as a resource server: whether an access token is one for us, and which grant it stands for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use reqwest::Url;
use sha2::{Digest as _, Sha256};
use tokio::sync::MutexGuard;

use super::{
    Algorithm, Fetch,
    discovery::authorization_server,
    fetch::{address, is_here},
    jwk::{self, Jwk},
    jwt::{Claims, Jwt},
    scopes::is_scope,
};
use crate::call::Timestamp;

/// Tokens are small; a larger one is not even looked at.
const LONGEST_TOKEN: usize = 16 << 10;
/// Tokens remembered as proven.
const REMEMBERED: usize = 10_000;
/// Whatever strangers send, the keys are asked for no more often than this.
const BETWEEN_FETCHES: Duration = Duration::from_secs(30);
/// A key that the authorization server took back is refused after this, at the latest.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// When the authorization server cannot be reached, its last keys hold for this long.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// `[oauth]` of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResourceSettings {
    pub issuer: String,
    /// Audiences that are ours beside the servers' own addresses.
    pub audience: Vec<String>,
    /// Where the keys are; from the issuer's metadata when left out.
    pub jwks: Option<String>,
    pub algorithms: Vec<Algorithm>,
    /// The claim that says who calls.
    pub claim: String,
    /// What each token must allow; none unless said.
    pub scopes: Vec<String>,
    /// Value of that claim → name of a grant.
    pub grants: BTreeMap<String, String>,
    /// How far the issuer's clock may be off.
    pub skew: Duration,
}

/// Why a token opens nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Invalid(&'static str),
    /// It is valid, and opens nothing here: another token of the same kind would not either.
    #[error("{0}")]
    Lacking(&'static str),
    /// Nobody can say: the issuer's keys cannot be had.
    #[error("{0}")]
    Unavailable(String),
}

/// Checks access tokens of one issuer.
#[derive(Debug)]
pub struct Resource {
    settings: ResourceSettings,
    fetch: Fetch,
    keys: ArcSwapOption<Keys>,
    /// When the keys were last asked for.
    asked: tokio::sync::Mutex<Option<Timestamp>>,
    /// Proven tokens by their hash: a signature is checked once, not at each call.
    proven: Mutex<HashMap<[u8; 32], Arc<Proven>>>,
}

#[derive(Debug)]
struct Keys {
    keys: Vec<Jwk>,
    at: Timestamp,
}

#[derive(Debug)]
struct Proven {
    /// Or why it opens nothing, though its signature is right.
    grant: Result<String, Refused>,
    audiences: Vec<String>,
    not_before: Option<Timestamp>,
    expires: Timestamp,
}

/// Three parts with dots between: no grant token of ours looks like that.
#[must_use]
pub fn looks_like_jwt(token: &str) -> bool {
    token.len() <= LONGEST_TOKEN && token.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl Resource {
    #[must_use]
    pub fn new(settings: ResourceSettings, fetch: Fetch) -> Self {
        Self {
            settings,
            fetch,
            keys: ArcSwapOption::empty(),
            asked: tokio::sync::Mutex::default(),
            proven: Mutex::default(),
        }
    }

    #[must_use]
    pub fn settings(&self) -> &ResourceSettings {
        &self.settings
    }

    /// The name of the grant that `token` stands for at the resource whose addresses are `ours`.
    ///
    /// # Errors
    /// `Refused`: it is not valid here and now, or nobody can say.
    pub async fn grant(&self, token: &str, ours: &[&str], now: Timestamp) -> Result<String, Refused> {
        if !looks_like_jwt(token) {
            return Err(Refused::Invalid("it is no token of this broker's or of its issuer"));
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.look_again(now).await;
        let known = self.proven().get(&hash).cloned();
        let proven = match known {
            Some(proven) => proven,
            None => {
                let proven = Arc::new(self.prove(token, now).await?);
                self.remember(hash, &proven, now);
                proven
            }
        };
        self.holds(&proven, ours, now)?;
        proven.grant.clone()
    }

    /// Signature and issuer: what does not change while the token and the keys are the same.
    async fn prove(&self, token: &str, now: Timestamp) -> Result<Proven, Refused> {
        let jwt = Jwt::parse(token).ok_or(Refused::Invalid("it cannot be read"))?;
        let algorithm = Algorithm::parse(&jwt.header.alg)
            .filter(|algorithm| self.settings.algorithms.contains(algorithm))
            .ok_or(Refused::Invalid("its algorithm is not allowed"))?;
        if jwt.header.crit.is_some() {
            return Err(Refused::Invalid("it has extensions that this broker does not know"));
        }
        if jwt.claims.text("iss") != Some(self.settings.issuer.as_str()) {
            return Err(Refused::Invalid("it is of another issuer"));
        }
        let key = self.key(jwt.header.kid.as_deref(), now).await?;
        if key.algorithm() != algorithm || !key.proves(jwt.signed, &jwt.signature) {
            return Err(Refused::Invalid("its signature is not right"));
        }
        let time = |name| jwt.claims.time(name).map_err(|()| Refused::Invalid("its times cannot be read"));
        let expires = time("exp")?.ok_or(Refused::Invalid("it never expires"))?;
        let grant = self.may(&jwt.claims);
        Ok(Proven { grant, audiences: jwt.claims.audiences(), not_before: time("nbf")?, expires })
    }

    /// What a token may do that is valid: all that a grant may, or nothing.
    fn may(&self, claims: &Claims) -> Result<String, Refused> {
        let scopes = claims.scopes();
        if !self.settings.scopes.iter().all(|needed| scopes.contains(&needed.as_str())) {
            return Err(Refused::Lacking("it does not have the scope that is needed here"));
        }
        let who = claims.text(&self.settings.claim);
        let grant = who.and_then(|who| self.settings.grants.get(who)).cloned();
        grant.ok_or(Refused::Lacking("no agent belongs to it; an operator can name one in [oauth.grants]"))
    }

    /// Time and audience: what is asked at each call.
    fn holds(&self, proven: &Proven, ours: &[&str], now: Timestamp) -> Result<(), Refused> {
        let skew = i64::try_from(self.settings.skew.as_millis()).unwrap_or(i64::MAX);
        if now.0 >= proven.expires.0.saturating_add(skew) {
            return Err(Refused::Invalid("it has expired"));
        }
        if proven.not_before.is_some_and(|from| now.0 < from.0.saturating_sub(skew)) {
            return Err(Refused::Invalid("it is not valid yet"));
        }
        let is_ours = |audience: &String| {
            ours.contains(&audience.as_str()) || self.settings.audience.contains(audience)
        };
        if proven.audiences.iter().any(is_ours) {
            return Ok(());
        }
        Err(Refused::Invalid("it is for another audience"))
    }

    /// The key of that id; without an id, the only key there is.
    async fn key(&self, kid: Option<&str>, now: Timestamp) -> Result<Jwk, Refused> {
        if let Some(key) = self.held_key(kid) {
            return Ok(key);
        }
        let asked = self.ask(self.asked.lock().await, now).await;
        match (self.held_key(kid), asked) {
            (Some(key), _) => Ok(key),
            (None, Err(why)) if self.keys.load().is_none() => Err(Refused::Unavailable(why)),
            (None, _) => Err(Refused::Invalid("it is signed with an unknown key")),
        }
    }

    fn held_key(&self, kid: Option<&str>) -> Option<Jwk> {
        let held = self.keys.load();
        let keys = &held.as_ref()?.keys;
        match (kid, keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        }
    }

    /// Keys that are no longer fresh are asked for again; what they proved before is forgotten if they changed.
    async fn look_again(&self, now: Timestamp) {
        let at = match self.keys.load().as_ref() {
            Some(keys) => keys.at,
            None => return,
        };
        if now.0 - at.0 < millis(FRESH) {
            return;
        }
        // One caller asks; the others go on with the keys that there are.
        let Ok(asked) = self.asked.try_lock() else { return };
        if let Err(why) = self.ask(asked, now).await
            && now.0 - at.0 >= millis(STALE)
        {
            tracing::error!(why, "the issuer's keys are too old to be believed: its tokens are refused");
            self.keys.store(None);
            self.proven().clear();
        }
    }

    /// Asks for the keys, if they were not asked for a moment ago.
    async fn ask(&self, mut asked: MutexGuard<'_, Option<Timestamp>>, now: Timestamp) -> Result<(), String> {
        if asked.is_some_and(|at| now.0 - at.0 < millis(BETWEEN_FETCHES)) {
            return Err("the issuer's keys were asked for a moment ago".into());
        }
        *asked = Some(now);
        let keys = match self.fetch_keys().await {
            Ok(keys) => keys,
            Err(why) => {
                tracing::warn!(why, "the keys of the issuer of access tokens cannot be had");
                return Err(why);
            }
        };
        if self.keys.load().as_ref().is_none_or(|before| before.keys != keys) {
            self.proven().clear();
        }
        self.keys.store(Some(Arc::new(Keys { keys, at: now })));
        Ok(())
    }

    async fn fetch_keys(&self) -> Result<Vec<Jwk>, String> {
        let issuer = Url::parse(&self.settings.issuer).map_err(|error| error.to_string())?;
        let jwks = match &self.settings.jwks {
            Some(jwks) => jwks.clone(),
            None => {
                let metadata = authorization_server(&self.fetch, &self.settings.issuer, &issuer).await?;
                metadata.jwks_uri.ok_or("the issuer's metadata names no jwks_uri: set oauth.jwks")?
            }
        };
        Ok(jwk::keys(&self.fetch.document(&address(&jwks, &issuer)?).await?))
    }

    fn remember(&self, hash: [u8; 32], proven: &Arc<Proven>, now: Timestamp) {
        let mut known = self.proven();
        if known.len() >= REMEMBERED {
            known.retain(|_, proven| proven.expires > now);
        }
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(hash, Arc::clone(proven));
    }

    fn proven(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Arc<Proven>>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResourceSettings {
    /// What is wrong with them, in words.
    ///
    /// # Errors
    /// An issuer or key address that could be read or changed on its way, or nobody who could come.
    pub fn check(&self) -> Result<(), String> {
        let issuer = Url::parse(&self.issuer).map_err(|error| format!("`issuer` is no URL: {error}"))?;
        if issuer.scheme() != "https" && !is_here(&issuer) {
            return Err("`issuer` is not https".into());
        }
        if let Some(jwks) = &self.jwks {
            address(jwks, &issuer).map_err(|why| format!("`jwks`: {why}"))?;
        }
        if self.algorithms.is_empty() {
            return Err("`algorithms` is empty".into());
        }
        if let Some(bad) = self.scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(format!("{bad:?} in `scopes` is no scope: write each as one word of a list"));
        }
        if self.grants.is_empty() {
            return Err("no value of the claim is given an agent in [oauth.grants]".into());
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
