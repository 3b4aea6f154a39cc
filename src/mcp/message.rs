//! A JSON-RPC message over the bytes it came in: the few members we read, borrowed; all others untouched.

use std::borrow::Cow;

use super::{Json, strict::{Defect, Limits}};

/// What one body or one line holds.
#[derive(Clone, Debug)]
pub enum Frame<'a> {
    One(Message<'a>),
    /// JSON-RPC batch (2025-03-26 only); never empty.
    Batch(Vec<Message<'a>>),
}

#[derive(Clone, Debug)]
pub enum Message<'a> {
    Request(Request<'a>),
    Notification(Notification<'a>),
    Response(Response<'a>),
}

#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// As written: number, string or null.
    pub id: Json<'a>,
    pub method: Cow<'a, str>,
    pub params: Option<Json<'a>>,
    /// The whole message.
    pub raw: Json<'a>,
}

#[derive(Clone, Debug)]
pub struct Notification<'a> {
    pub method: Cow<'a, str>,
    pub params: Option<Json<'a>>,
    pub raw: Json<'a>,
}

#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// As written; `null` when absent (an error about an unreadable request).
    pub id: Json<'a>,
    pub answer: Answer<'a>,
    pub raw: Json<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    Result(Json<'a>),
    Error(Json<'a>),
}

/// Why bytes are no message.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    #[error("{0}")]
    Json(#[from] Defect),
    #[error("not a JSON-RPC message: {why}")]
    Envelope {
        why: &'static str,
        /// The id as written, when there is one to answer to.
        id: Option<String>,
    },
}

impl Malformed {
    /// −32700 for bytes that are no JSON, −32600 for JSON that is no message.
    #[must_use]
    pub fn code(&self) -> i32 {
        unimplemented!()
    }

    /// The id to answer to, raw; `null` when unknown.
    #[must_use]
    pub fn id(&self) -> &str {
        unimplemented!()
    }
}

impl<'a> Frame<'a> {
    /// # Errors
    /// The bytes are not JSON within the limits, or no message.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, Malformed> {
        let _ = (bytes, limits);
        unimplemented!()
    }
}

impl<'a> Message<'a> {
    /// # Errors
    /// `Malformed::Envelope`.
    pub fn of(json: Json<'a>) -> Result<Self, Malformed> {
        let _ = json;
        unimplemented!()
    }

    #[must_use]
    pub fn raw(&self) -> Json<'a> {
        unimplemented!()
    }

    /// The method of a request or notification.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        unimplemented!()
    }

    /// The id of a request or response.
    #[must_use]
    pub fn id(&self) -> Option<Json<'a>> {
        unimplemented!()
    }

    #[must_use]
    pub fn params(&self) -> Option<Json<'a>> {
        unimplemented!()
    }
}
