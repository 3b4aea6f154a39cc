//! One try to deliver one message, and what its answer means. Nothing here says a URL aloud.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header, redirect, retry};

use super::{
    backoff::retry_after,
    notice::Notice,
    settings::{Destination, Endpoint, Pace, Target},
    slack, webhook,
};
use crate::{call::Timestamp, card::visible, upstream::tls_config};

/// Of a receiver's own words, this much is kept, bytes.
const LONGEST_ANSWER: usize = 300;

/// What became of a try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Tried {
    Delivered,
    /// Worth another try, at the earliest after `wait`.
    Later {
        wait: Option<Duration>,
        why: String,
        /// No answer came: the receiver may have it all the same.
        unsure: bool,
    },
    /// The receiver calls it wrong: another try will hardly help.
    Refused {
        why: String,
    },
}

/// Speaks to one destination.
pub(super) struct Courier {
    client: Client,
    destination: Destination,
}

impl Courier {
    /// # Errors
    /// In words: certificates cannot be checked on this machine.
    pub(super) fn new(destination: Destination, pace: &Pace) -> Result<Self, String> {
        let tls = tls_config()?;
        let client = Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .timeout(pace.timeout)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(said)?;
        Ok(Self { client, destination })
    }

    /// POSTs the message once. `id` names it at every try.
    pub(super) async fn deliver(&self, notice: &Notice, id: &str, now: Timestamp) -> Tried {
        let endpoint = self.destination.target.endpoint();
        let request =
            self.client.post(endpoint.url().clone()).header(header::CONTENT_TYPE, "application/json");
        let request = match &self.destination.target {
            Target::Slack(_) => Ok(request.body(slack::message(notice).to_string())),
            Target::Webhook(_, secret) => {
                webhook::message(notice).map_err(|error| error.to_string()).and_then(|body| {
                    let signed = webhook::sign(request, secret, (id, now), &body);
                    signed.map(|request| request.body(body)).map_err(|error| error.to_string())
                })
            }
        };
        let request = match request {
            Ok(request) => request,
            Err(why) => return Tried::Refused { why },
        };
        match request.send().await {
            Ok(response) => self.judge(response, now).await,
            Err(error) => {
                let unsure = !error.is_connect() && !error.is_builder();
                Tried::Later { wait: None, why: said(error), unsure }
            }
        }
    }

    async fn judge(&self, response: Response, now: Timestamp) -> Tried {
        let (status, endpoint) = (response.status(), self.destination.target.endpoint());
        if status.is_success() {
            return Tried::Delivered;
        }
        let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = asked.and_then(|value| retry_after(value, now));
        let why = format!("{status}{}{}", words(response, endpoint).await, self.hint(status));
        let again = status.is_server_error()
            || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
                .contains(&status);
        if again { Tried::Later { wait, why, unsure: false } } else { Tried::Refused { why } }
    }

    /// What an operator should know of such an answer.
    fn hint(&self, status: StatusCode) -> &'static str {
        let gone = [StatusCode::NOT_FOUND, StatusCode::GONE].contains(&status);
        match &self.destination.target {
            Target::Slack(_) if gone => {
                "; the incoming webhook was removed in Slack: make a new one and set its URL"
            }
            Target::Slack(_) if status == StatusCode::FORBIDDEN => {
                "; Slack no longer lets this webhook post: look at the app and the channel"
            }
            Target::Slack(_) | Target::Webhook(..) if status.is_redirection() => {
                "; redirects are not followed: set the URL that it leads to"
            }
            Target::Slack(_) | Target::Webhook(..) => "",
        }
    }
}

/// The beginning of the receiver's own words, such as Slack's `no_service`; nothing when they repeat what
/// is secret in the URL, as many a page for 404 does.
async fn words(mut response: Response, endpoint: &Endpoint) -> String {
    let mut body = Vec::new();
    while body.len() < LONGEST_ANSWER
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(LONGEST_ANSWER);
    let text = visible(String::from_utf8_lossy(&body).trim());
    if text.is_empty() || endpoint.is_repeated_in(&text) { String::new() } else { format!(" ({text})") }
}

/// An error with its causes; never the URL, which is a secret.
fn said(error: reqwest::Error) -> String {
    let timed_out = error.is_timeout();
    let error = error.without_url();
    let mut text = if timed_out { "no answer in time".to_owned() } else { error.to_string() };
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    visible(&text)
}
