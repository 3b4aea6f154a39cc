//! What one sign-in gave: tokens, and what it takes to renew them. Never shown, never logged.

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::scopes::{Scopes, Standing, StandingState};
use crate::call::Timestamp;

/// A token is renewed this long before its end, or after three quarters of a short life.
const BEFORE_THE_END: i64 = 60_000;

/// Who the broker is at an authorization server.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Client {
    pub id: String,
    pub secret: Option<String>,
    /// The secret goes into the Authorization header, not into the form.
    pub basic: bool,
}

/// One server's sign-in.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Credential {
    /// The MCP server's URL: the tokens go nowhere else, whatever the configuration says later.
    pub server: String,
    pub issuer: String,
    pub token_endpoint: String,
    /// RFC 8707: whom the tokens are for.
    pub resource: String,
    pub client: Client,
    pub tokens: Tokens,
    /// Empty in files of before they were kept.
    #[serde(default)]
    pub scopes: Scopes,
}

impl Credential {
    /// Must a person do something?
    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        if self.tokens.access.is_empty() || self.tokens.is_over(now) && self.tokens.refresh.is_none() {
            return Standing::needed();
        }
        let done = || Standing { state: StandingState::Done, missing: Vec::new() };
        self.scopes.standing().unwrap_or_else(done)
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Tokens {
    /// Tells one renewal from the next; not a secret.
    pub serial: u64,
    /// Empty: it is over.
    pub access: String,
    pub refresh: Option<String>,
    pub obtained: Timestamp,
    pub expires: Option<Timestamp>,
}

impl Tokens {
    /// From a token endpoint's answer. Without a new refresh token the old one stays good.
    ///
    /// # Errors
    /// In words without any of its content.
    pub(super) fn parse(body: &Value, before: Option<&Self>, now: Timestamp) -> Result<Self, String> {
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err("the authorization server gave a token that is no bearer token".into());
        }
        let access = text("access_token").filter(|token| header(token).is_some() && !token.is_empty());
        let access = access.ok_or("the authorization server gave no token that can be sent")?;
        let life = body.get("expires_in").and_then(|life| {
            life.as_i64()
                .or_else(|| life.as_str()?.parse().ok())
                .filter(|life| (0..=i64::MAX / 4000).contains(life))
        });
        Ok(Self {
            serial: rand::random(),
            access: access.to_owned(),
            refresh: text("refresh_token").map(str::to_owned).or_else(|| before?.refresh.clone()),
            obtained: now,
            expires: life.map(|life| Timestamp(now.0.saturating_add(life * 1000))),
        })
    }

    /// Nothing can be sent with them any more.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.access.is_empty() || self.expires.is_some_and(|at| now >= at)
    }

    /// Time to renew them.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.is_over(now)
            || self.refresh.is_some()
                && self.expires.is_some_and(|at| {
                    let life = at.0.saturating_sub(self.obtained.0);
                    now.0 >= at.0 - BEFORE_THE_END.min(life / 4)
                })
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        header(&self.access)
    }
}

fn header(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(life: i64, refresh: bool) -> Tokens {
        let mut body = json!({"access_token": "a", "token_type": "bearer", "expires_in": life});
        if refresh {
            body["refresh_token"] = json!("r");
        }
        Tokens::parse(&body, None, Timestamp(0)).unwrap()
    }

    #[test]
    fn a_token_is_renewed_before_its_end_if_it_can_be() {
        let long = tokens(3600, true);
        assert!(!long.is_due(Timestamp(3_539_999)) && long.is_due(Timestamp(3_540_000)));
        let short = tokens(8, true);
        assert!(!short.is_due(Timestamp(5_999)) && short.is_due(Timestamp(6_000)));
        let last = tokens(3600, false);
        assert!(!last.is_due(Timestamp(3_599_999)) && last.is_over(Timestamp(3_600_000)));
    }

    #[test]
    fn a_sign_in_of_before_scopes_were_kept_is_still_one() {
        let kept = json!({"server": "http://s/mcp", "issuer": "http://i", "token_endpoint": "http://i/token",
            "resource": "http://s/mcp", "client": {"id": "c", "secret": null, "basic": false},
            "tokens": tokens(3600, false)});
        let kept: Credential = serde_json::from_value(kept).unwrap();
        assert_eq!(kept.standing(Timestamp(0)).state, StandingState::Done);
        assert_eq!(kept.standing(Timestamp(3_600_000)).state, StandingState::Needed);
        assert_eq!(kept.scopes.to_ask("mcp"), ["mcp"]);
    }

    #[test]
    fn an_answer_without_a_bearer_token_is_refused() {
        for body in [
            json!({"access_token": "a", "token_type": "DPoP"}),
            json!({"token_type": "Bearer"}),
            json!({"access_token": "a\nb", "token_type": "Bearer"}),
        ] {
            assert!(Tokens::parse(&body, None, Timestamp(0)).is_err(), "{body}");
        }
    }
}
