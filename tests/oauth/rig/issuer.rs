//! An authorization server: discovery, registration, authorize with PKCE, token, refresh with rotation, JWKS.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as B64};
use countersign::oauth::Fetch;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub type Form = HashMap<String, String>;

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// The broker's HTTP client for authorization servers, as `Accounts::open` wants it.
pub fn fetch() -> Result<Fetch, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.unwrap().with_root_certificates(rustls::RootCertStore::empty());
    Fetch::new(&Arc::new(tls.with_no_client_auth()))
}

/// A key with an id.
pub enum Signer {
    Rs256(Box<RsaKeyPair>),
    Es256(Box<EcdsaKeyPair>),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    pub fn rs256() -> Self {
        let pem = include_str!("../../data/oauth/rsa.pem");
        let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::prelude::BASE64_STANDARD.decode(lines).unwrap();
        Self::Rs256(Box::new(RsaKeyPair::from_pkcs8(&der).unwrap()))
    }

    pub fn es256() -> Self {
        let (chance, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(kind, &chance).unwrap();
        Self::Es256(Box::new(EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &chance).unwrap()))
    }

    pub fn eddsa() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::EdDsa(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    pub fn alg(&self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Self::Es256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::EdDsa(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rs256(key) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256",
                    "n": B64.encode(public.n), "e": B64.encode(public.e)})
            }
            Self::Es256(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid,
                    "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])})
            }
            Self::EdDsa(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": B64.encode(key.public_key().as_ref())})
            }
        }
    }

    /// A signed token with this header and these claims.
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = B64.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

struct Code {
    form: Form,
    used: bool,
    /// What the person agreed to.
    scope: String,
}

#[derive(Default)]
struct Books {
    keys: Vec<(String, Arc<Signer>)>,
    clients: HashMap<String, Value>,
    codes: HashMap<String, Code>,
    /// Refresh token → client and scope.
    refresh: HashMap<String, (String, String)>,
    /// Access token → scope.
    scopes: HashMap<String, String>,
    /// Scopes that nobody is given.
    declined: Vec<String>,
    /// Client metadata documents, as they were read.
    documents: Vec<Value>,
    metadata: Vec<(String, Value)>,
    /// Every access token handed out, in order.
    access: Vec<String>,
    /// Every secret ever handed out or taken.
    secrets: Vec<String>,
    asked: Vec<String>,
    /// Authorization headers at the token endpoint.
    authorizations: Vec<String>,
    lifetime: u64,
    says_iss: Option<String>,
    last: u64,
}

#[derive(Clone)]
pub struct Issuer {
    pub url: String,
    books: Arc<Mutex<Books>>,
}

impl Issuer {
    /// With one ES256 key, `k1`.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let books = Books {
            keys: vec![("k1".into(), Arc::new(Signer::es256()))],
            lifetime: 3600,
            says_iss: Some(url.clone()),
            ..Books::default()
        };
        let issuer = Self { url, books: Arc::new(Mutex::new(books)) };
        let routes = Router::new()
            .route("/.well-known/oauth-authorization-server", get(metadata))
            .route("/jwks", get(jwks))
            .route("/register", post(register))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        issuer
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    pub fn add_key(&self, kid: &str, signer: Signer) -> Arc<Signer> {
        let signer = Arc::new(signer);
        self.books().keys.push((kid.into(), Arc::clone(&signer)));
        signer
    }

    pub fn forget_key(&self, kid: &str) {
        self.books().keys.retain(|(known, _)| known != kid);
    }

    pub fn key(&self) -> Arc<Signer> {
        Arc::clone(&self.books().keys[0].1)
    }

    /// Changes one member of the metadata.
    pub fn says(&self, member: &str, value: Value) {
        self.books().metadata.push((member.into(), value));
    }

    /// What `iss` the authorization response has.
    pub fn answers_as(&self, iss: Option<&str>) {
        self.books().says_iss = iss.map(str::to_owned);
    }

    /// Access tokens handed out from now on live this long.
    pub fn lifetime(&self, seconds: u64) {
        self.books().lifetime = seconds;
    }

    /// Nobody is given this scope any more.
    pub fn decline(&self, scope: &str) {
        self.books().declined.push(scope.to_owned());
    }

    /// What an access token may do.
    pub fn scope(&self, access: &str) -> String {
        self.books().scopes.get(access).cloned().unwrap_or_default()
    }

    /// The client metadata documents that were read, in order.
    pub fn documents(&self) -> Vec<Value> {
        self.books().documents.clone()
    }

    /// No refresh token is good any more.
    pub fn revoke(&self) {
        self.books().refresh.clear();
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.books().asked.iter().filter(|asked| *asked == path).count()
    }

    pub fn access(&self) -> Vec<String> {
        self.books().access.clone()
    }

    /// Codes, verifiers, access and refresh tokens.
    pub fn secrets(&self) -> Vec<String> {
        self.books().secrets.clone()
    }

    pub fn authorizations(&self) -> Vec<String> {
        self.books().authorizations.clone()
    }

    pub fn clients(&self) -> Vec<Value> {
        self.books().clients.values().cloned().collect()
    }
}

impl Books {
    fn next(&mut self, what: &str) -> String {
        self.last += 1;
        let secret = format!("{what}-{}-{:032x}", self.last, rand::random::<u128>());
        self.secrets.push(secret.clone());
        secret
    }
}

async fn metadata(State(issuer): State<Issuer>) -> Json<Value> {
    let url = &issuer.url;
    let mut books = issuer.books();
    books.asked.push("/metadata".into());
    let mut document = json!({
        "issuer": url, "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"), "registration_endpoint": format!("{url}/register"),
        "jwks_uri": format!("{url}/jwks"), "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    for (member, value) in &books.metadata {
        document[member] = value.clone();
    }
    Json(document)
}

async fn jwks(State(issuer): State<Issuer>) -> Json<Value> {
    let mut books = issuer.books();
    books.asked.push("/jwks".into());
    let keys: Vec<Value> = books.keys.iter().map(|(kid, key)| key.jwk(kid)).collect();
    Json(json!({ "keys": keys }))
}

async fn register(State(issuer): State<Issuer>, Json(client): Json<Value>) -> Response {
    let mut books = issuer.books();
    books.asked.push("/register".into());
    let id = format!("client-{}", books.clients.len() + 1);
    books.clients.insert(id.clone(), client.clone());
    let mut answer = client;
    answer["client_id"] = json!(id);
    (StatusCode::CREATED, Json(answer)).into_response()
}

/// The document behind a client id that is an address: it must be JSON, over TLS, and speak for that address.
async fn document(id: &str) -> Option<Value> {
    let read = super::trusting().build().unwrap().get(id).send().await.ok()?;
    let document: Value = read.error_for_status().ok()?.json().await.ok()?;
    let fits = document["client_id"] == id && document["client_name"].is_string();
    fits.then_some(document)
}

/// Whoever comes here has signed in and agrees.
async fn authorize(State(issuer): State<Issuer>, Query(form): Query<Form>) -> Response {
    let of = |name: &str| form.get(name).cloned().unwrap_or_default();
    let id = of("client_id");
    let document = if id.starts_with("https://") { Some(document(&id).await) } else { None };
    let mut books = issuer.books();
    books.asked.push("/authorize".into());
    let registered = books.clients.get(&id).cloned();
    books.documents.extend(document.clone().flatten());
    // One that is known beforehand has neither.
    let client = document.map_or(registered, |read| Some(read.unwrap_or_default()));
    let known = client.is_none_or(|client| client["redirect_uris"][0] == of("redirect_uri").as_str());
    let proof = of("code_challenge_method") == "S256" && of("code_challenge").len() == 43;
    if !known || !proof || of("response_type") != "code" || of("resource").is_empty() {
        return (StatusCode::BAD_REQUEST, "no PKCE, no resource, or another redirect").into_response();
    }
    let code = books.next("code");
    let mut to = reqwest::Url::parse(&of("redirect_uri")).unwrap();
    to.query_pairs_mut().append_pair("code", &code).append_pair("state", &of("state"));
    if let Some(iss) = &books.says_iss {
        to.query_pairs_mut().append_pair("iss", iss);
    }
    let may = |scope: &&str| !books.declined.iter().any(|declined| declined == scope);
    let scope = of("scope").split(' ').filter(may).collect::<Vec<_>>().join(" ");
    books.codes.insert(code, Code { form, used: false, scope });
    Redirect::to(to.as_str()).into_response()
}

async fn token(State(issuer): State<Issuer>, headers: HeaderMap, body: String) -> Response {
    let url = reqwest::Url::parse(&format!("http://x/?{body}")).unwrap();
    let form: Form = url.query_pairs().into_owned().collect();
    let mut books = issuer.books();
    books.asked.push("/token".into());
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let by_header = authorization.is_some();
    books.authorizations.extend(authorization);
    let of = |name: &str| form.get(name).cloned().unwrap_or_default();
    books.secrets.push(of("code_verifier"));
    let scope = match of("grant_type").as_str() {
        "authorization_code" => {
            let hash = B64.encode(Sha256::digest(of("code_verifier")));
            books.codes.get_mut(&of("code")).and_then(|code| {
                let same = |name: &str| code.form.get(name) == form.get(name);
                let fits = !code.used && code.form["code_challenge"] == hash;
                code.used = true;
                let fits =
                    fits && (by_header || same("client_id")) && same("redirect_uri") && same("resource");
                fits.then(|| code.scope.clone())
            })
        }
        // Rotation: each refresh token is good once.
        "refresh_token" => {
            let kept = books.refresh.remove(&of("refresh_token"));
            kept.filter(|(client, _)| *client == of("client_id")).map(|(_, scope)| scope)
        }
        _ => None,
    };
    let Some(scope) = scope else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    };
    let (kid, key) = &books.keys[0];
    let header = json!({"alg": key.alg(), "kid": kid, "typ": "at+jwt"});
    let claims = json!({"iss": issuer.url, "aud": of("resource"), "client_id": of("client_id"),
        "exp": now() + books.lifetime, "jti": format!("{:x}", rand::random::<u128>())});
    let access = key.token(&header, &claims);
    let refresh = books.next("refresh");
    books.access.push(access.clone());
    books.secrets.push(access.clone());
    books.refresh.insert(refresh.clone(), (of("client_id"), scope.clone()));
    books.scopes.insert(access.clone(), scope.clone());
    let lifetime = books.lifetime;
    Json(json!({"access_token": access, "token_type": "Bearer", "expires_in": lifetime,
        "refresh_token": refresh, "scope": scope}))
    .into_response()
}
