//! Public keys of an authorization server (RFC 7517), and the signatures they prove.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value;

use super::Algorithm;

/// One signing key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Jwk {
    pub kid: Option<String>,
    key: Key,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Key {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed point, 65 bytes.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// The keys of a set that can sign access tokens; others are passed over.
pub(super) fn keys(set: &Value) -> Vec<Jwk> {
    set.get("keys").and_then(Value::as_array).into_iter().flatten().filter_map(key).collect()
}

fn key(jwk: &Value) -> Option<Jwk> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)?).ok();
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let key = match (text("kty")?, text("crv")) {
        ("RSA", _) => Key::Rsa { n: bytes("n")?, e: bytes("e")? },
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == 32 && y.len() == 32).then(|| Key::P256([&[4], x.as_slice(), &y].concat()))?
        }
        ("OKP", Some("Ed25519")) => Key::Ed25519(bytes("x")?),
        _ => return None,
    };
    let jwk = Jwk { kid: text("kid").map(str::to_owned), key };
    text("alg").is_none_or(|alg| Algorithm::parse(alg) == Some(jwk.algorithm())).then_some(jwk)
}

impl Jwk {
    /// The one algorithm that this key is good for: a token cannot choose another.
    pub(super) fn algorithm(&self) -> Algorithm {
        match &self.key {
            Key::Rsa { .. } => Algorithm::Rs256,
            Key::P256(_) => Algorithm::Es256,
            Key::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    pub(super) fn proves(&self, message: &[u8], signature: &[u8]) -> bool {
        let proven = match &self.key {
            Key::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Key::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Key::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
        };
        proven.is_ok()
    }
}
