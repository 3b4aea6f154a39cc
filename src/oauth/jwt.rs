//! A JSON Web Token as it is written: three parts, of which none is believed before the signature is proven.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::call::Timestamp;

/// Signatures that are taken. There is no `none` and no shared secret to choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub enum Algorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// Parsed, not proven.
pub(super) struct Jwt<'t> {
    pub header: Header,
    pub claims: Claims,
    /// What the signature is over.
    pub signed: &'t [u8],
    pub signature: Vec<u8>,
}

#[derive(Deserialize)]
pub(super) struct Header {
    pub alg: String,
    pub kid: Option<String>,
    /// Extensions that must be understood: we know none.
    pub crit: Option<Value>,
}

pub(super) struct Claims(Map<String, Value>);

impl<'t> Jwt<'t> {
    pub(super) fn parse(token: &'t str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        Some(Self {
            header: serde_json::from_slice(&part(header)?).ok()?,
            claims: Claims(serde_json::from_slice(&part(claims)?).ok()?),
            signed: signed.as_bytes(),
            signature: part(signature)?,
        })
    }
}

impl Claims {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// `aud` is one text or several.
    pub(super) fn audiences(&self) -> Vec<String> {
        match self.0.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// `scope` is one text of words (RFC 9068); some issuers write `scp`, and some write a list.
    pub(super) fn scopes(&self) -> Vec<&str> {
        let claims = ["scope", "scp"].into_iter().filter_map(|name| self.0.get(name));
        let texts = claims.flat_map(|claim| match claim {
            Value::String(one) => vec![one.as_str()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        });
        texts.flat_map(str::split_ascii_whitespace).collect()
    }

    /// A time in seconds, fractions allowed. `Err`: it is there and is no time.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, ()> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        // Up to the year 9999: beyond it, adding a skew could overflow.
        let seconds = value.as_f64().filter(|seconds| (0.0..253_402_300_800.0).contains(seconds)).ok_or(())?;
        #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
        Ok(Some(Timestamp((seconds * 1000.0) as i64)))
    }
}
