//! Questions about a task by the name that its server gave it.

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;

use crate::{
    call::Call,
    downstream::{
        answer::{self, Asker, code},
        http::Visit,
        relay,
    },
    mcp::Passthrough,
};

const UNSEEN: &str = "the answers were not sent: people were asked about this call, and its server would get them \
    without anyone having seen them; make the call again with what it needs in its arguments, or ask the operator \
    to allow the tool";

/// Passes on what is asked about it. Where people were asked about its call, only its own agent asks, and brings
/// nothing that nobody saw.
pub(in crate::downstream) async fn of_server(
    visit: Visit,
    (pass, body): (Passthrough, Bytes),
    brings: bool,
    id: &str,
    asker: Asker,
) -> Response {
    let call = match visit.door.inner.broker.goes_on_as(visit.server.name(), id).await {
        Ok(call) => call,
        Err(error) => {
            let text = format!("whose the task is cannot be read: {error}");
            return answer::error(StatusCode::OK, &asker.id, code::INTERNAL, &text, None);
        }
    };
    if let Some(call) = call {
        if call.request.agent != visit.grant.name {
            let text = "Task not found: it is not of this agent at this server; make the call again";
            return answer::error(StatusCode::OK, &asker.id, code::INVALID_PARAMS, text, None);
        }
        if brings && let Some(refusal) = unseen(&visit, &call, &asker).await {
            return refusal;
        }
    }
    relay::message(visit, pass, body, Some(asker)).await
}

/// Why answers for the task that this call goes on as do not go up to its server.
pub(super) async fn unseen(visit: &Visit, call: &Call, asker: &Asker) -> Option<Response> {
    if visit.door.inner.broker.may_bring_more(call).await {
        return None;
    }
    Some(answer::error(StatusCode::OK, &asker.id, code::INVALID_PARAMS, UNSEEN, None))
}
