//! A reviewer's side of the broker: REST and websocket with a reviewer's token.

mod credentials;
mod live;
mod place;

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

pub(super) use self::{
    credentials::{Credentials, write_private},
    live::{Frame, Live},
    place::Place,
};

/// For a connection.
const TIMEOUT: Duration = Duration::from_secs(8);
/// For a connection and the whole answer; what follows the ledger waits as long as it must.
const ANSWER: Duration = Duration::from_secs(10);

/// Why the broker did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(
        "the broker at {url} cannot be reached ({why}); is `countersign serve` running? Name another with --url"
    )]
    Unreachable { url: String, why: String },
    #[error(
        "the broker at {0} was reached, but it does not answer; see its log, and whether its machine is overloaded"
    )]
    Silent(String),
    /// An RFC 9457 problem, or a status without one.
    #[error("{detail}")]
    Refused { status: u16, detail: String },
    #[error("{0} does not answer as a countersign broker does; check --url")]
    Stranger(String),
}

/// One reviewer at one broker.
#[derive(Clone, Debug)]
pub(super) struct Reviewer {
    url: String,
    token: String,
    http: reqwest::Client,
}

impl Reviewer {
    /// `url`: where the inbox is, such as `http://127.0.0.1:8787`.
    pub(super) fn new(url: &str, token: &str) -> anyhow::Result<Self> {
        let http = client(url)?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), token: token.to_owned(), http })
    }

    /// Whom it asks.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.ask(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).timeout(ANSWER);
        request = request.bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let sent = request.send().await;
        let answer = sent.map_err(|error| self.unanswered(&error))?;
        let status = answer.status();
        let read = answer.bytes().await;
        let text = read.map_err(|error| self.unanswered(&error))?;
        let value: Option<Value> = serde_json::from_slice(&text).ok();
        if status.is_success() {
            return value.ok_or_else(|| ApiError::Stranger(self.url.clone()));
        }
        Err(self.refusal(status, value.as_ref()))
    }

    fn unanswered(&self, error: &reqwest::Error) -> ApiError {
        if error.is_timeout() && !error.is_connect() {
            return ApiError::Silent(self.url.clone());
        }
        ApiError::Unreachable { url: self.url.clone(), why: root_of(error) }
    }

    fn refusal(&self, status: StatusCode, problem: Option<&Value>) -> ApiError {
        let detail = problem.and_then(|problem| problem.get("detail")).and_then(Value::as_str);
        match (status, detail) {
            (StatusCode::UNAUTHORIZED, Some(_)) => ApiError::Refused {
                status: status.as_u16(),
                detail: format!(
                    "{} does not accept this reviewer's token; make one with `countersign reviewers add NAME`, \
                     keep it with `countersign login {}`",
                    self.url, self.url
                ),
            },
            (_, Some(detail)) => {
                ApiError::Refused { status: status.as_u16(), detail: super::print::visible(detail) }
            }
            (_, None) => ApiError::Stranger(self.url.clone()),
        }
    }

    /// Follows the ledger from `after`, or from now on.
    pub(super) async fn follow(&self, after: Option<&str>) -> anyhow::Result<Live> {
        Live::connect(&self.url, &self.token, after).await
    }
}

/// An HTTP client that never takes a proxy to this machine itself.
pub(super) fn client(url: &str) -> anyhow::Result<reqwest::Client> {
    let uri: http::Uri = url.parse().map_err(|error| anyhow::anyhow!("{url} is no URL: {error}"))?;
    let host = uri.host().unwrap_or_default();
    let mut builder = reqwest::Client::builder().connect_timeout(TIMEOUT);
    if matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
        builder = builder.no_proxy();
    }
    Ok(builder.build()?)
}

/// The innermost cause: the outer ones repeat the URL.
fn root_of(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
