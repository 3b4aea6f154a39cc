//! A JSON-RPC message over the bytes it came in: the few members we read, borrowed; all others untouched.

use std::borrow::Cow;

use super::{
    Json, Kind,
    strict::{self, Defect, Limits},
};

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
    /// `jsonrpc` is there and says "2.0".
    pub is_2_0: bool,
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
        match self {
            Self::Json(_) => -32700,
            Self::Envelope { .. } => -32600,
        }
    }

    /// The id to answer to, raw; `null` when unknown.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Json(_) | Self::Envelope { id: None, .. } => "null",
            Self::Envelope { id: Some(id), .. } => id,
        }
    }
}

impl<'a> Frame<'a> {
    /// # Errors
    /// The bytes are not JSON within the limits, or no message.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, Malformed> {
        let json = strict::check(bytes, limits)?;
        if json.kind() != Kind::Array {
            return Message::of(json).map(Self::One);
        }
        let messages: Vec<_> = json.elements().map(Message::of).collect::<Result<_, _>>()?;
        if messages.is_empty() {
            return Err(Malformed::Envelope { why: "an empty batch", id: None });
        }
        Ok(Self::Batch(messages))
    }
}

/// The members that decide what a message is.
const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

impl<'a> Message<'a> {
    /// # Errors
    /// `Malformed::Envelope`.
    pub fn of(raw: Json<'a>) -> Result<Self, Malformed> {
        let [mut id, mut method, mut params, mut result, mut error] = [None; 5];
        let (mut look_alike, mut is_2_0) = (false, false);
        for member in raw.members() {
            match &*member.name {
                "id" => id = Some(member.value),
                "method" => method = Some(member.value),
                "params" => params = Some(member.value),
                "result" => result = Some(member.value),
                "error" => error = Some(member.value),
                "jsonrpc" => is_2_0 = member.value.string().as_deref() == Some("2.0"),
                other => look_alike |= is_look_alike(other, &ENVELOPE),
            }
        }
        let malformed =
            |why| Err(Malformed::Envelope { why, id: id.filter(is_plain).map(|id| id.as_str().to_owned()) });
        if raw.kind() != Kind::Object {
            return malformed("neither an object nor an array");
        }
        if look_alike {
            return malformed("a member's name differs only in case from one that is reserved");
        }
        if id.is_some_and(|id| !is_plain(&id)) {
            return malformed("`id` must be a string or a number");
        }
        // JSON-RPC 1.0 has both members, one of them null.
        if result.is_some() && error.is_some() {
            error = error.filter(|e| e.kind() != Kind::Null);
            result = result.filter(|r| error.is_none() || r.kind() != Kind::Null);
        }
        match (method, id, result, error) {
            (Some(method), id, None, None) => {
                let Some(method) = method.string() else { return malformed("`method` must be a string") };
                Ok(match id {
                    Some(id) => Self::Request(Request { id, method, params, is_2_0, raw }),
                    None => Self::Notification(Notification { method, params, raw }),
                })
            }
            (None, id, Some(result), None) => Ok(Self::response(id, Answer::Result(result), raw)),
            (None, id, None, Some(error)) => Ok(Self::response(id, Answer::Error(error), raw)),
            (None, _, None, None) => malformed("neither `method` nor `result` nor `error`"),
            (..) => malformed("only one of `method`, `result` and `error` is possible"),
        }
    }

    fn response(id: Option<Json<'a>>, answer: Answer<'a>, raw: Json<'a>) -> Self {
        Self::Response(Response { id: id.unwrap_or(Json::NULL), answer, raw })
    }

    #[must_use]
    pub fn raw(&self) -> Json<'a> {
        match self {
            Self::Request(m) => m.raw,
            Self::Notification(m) => m.raw,
            Self::Response(m) => m.raw,
        }
    }

    /// The method of a request or notification.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        match self {
            Self::Request(m) => Some(&m.method),
            Self::Notification(m) => Some(&m.method),
            Self::Response(_) => None,
        }
    }

    /// The id of a request or response.
    #[must_use]
    pub fn id(&self) -> Option<Json<'a>> {
        match self {
            Self::Request(m) => Some(m.id),
            Self::Notification(_) => None,
            Self::Response(m) => Some(m.id),
        }
    }

    #[must_use]
    pub fn params(&self) -> Option<Json<'a>> {
        match self {
            Self::Request(m) => m.params,
            Self::Notification(m) => m.params,
            Self::Response(_) => None,
        }
    }
}

fn is_plain(id: &Json<'_>) -> bool {
    matches!(id.kind(), Kind::String | Kind::Number | Kind::Null)
}

/// Some servers match member names without regard to case (Go's `encoding/json` does, and folds `ſ` and
/// the Kelvin sign): `METHOD` beside `method` would show them another call than the one judged here.
pub(super) fn is_look_alike(name: &str, reserved: &[&str]) -> bool {
    let fold = |c: char| match c {
        '\u{17F}' => 's',
        '\u{212A}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    reserved.iter().any(|r| *r != name && r.chars().map(fold).eq(name.chars().map(fold)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Frame<'_>, Malformed> {
        Frame::parse(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn an_odd_id_is_kept_as_written() {
        for id in ["1", "\"1\"", "123456789012345678901234567890", "1.0", "null", "\"\\u0061\""] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let Ok(Frame::One(Message::Request(request))) = parse(&text) else { unreachable!("{text}") };
            assert_eq!(request.id.as_str(), id);
        }
    }

    #[test]
    fn an_answer_with_a_null_beside_it_is_an_answer() {
        for (text, is_error) in [
            (r#"{"id":1,"result":{},"error":null}"#, false),
            (r#"{"id":1,"result":null,"error":{"code":1}}"#, true),
        ] {
            let Ok(Frame::One(Message::Response(response))) = parse(text) else { unreachable!("{text}") };
            assert_eq!(matches!(response.answer, Answer::Error(_)), is_error);
        }
    }

    #[test]
    fn what_is_no_message_says_why_and_to_whom() {
        let cases = [
            (r#"{"id":7}"#, -32600, "7"),
            (r#"{"id":7,"method":"a","result":{}}"#, -32600, "7"),
            (r#"{"id":7,"method":1}"#, -32600, "7"),
            (r#"{"id":{},"method":"a"}"#, -32600, "null"),
            (r#"{"id":7,"method":"ping","METHOD":"tools/call"}"#, -32600, "7"),
            ("{\"id\":7,\"method\":\"ping\",\"param\u{17f}\":{}}", -32600, "7"),
            (r#"{"id":7,"result":{},"error":{}}"#, -32600, "7"),
            ("[]", -32600, "null"),
            ("3", -32600, "null"),
            ("{", -32700, "null"),
        ];
        for (text, code, id) in cases {
            let malformed = parse(text).unwrap_err();
            assert_eq!((malformed.code(), malformed.id()), (code, id), "{text}");
        }
    }
}
