//! Questions about a task by the name that its server gave it.

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;

use super::NOT_FOUND;
use crate::{
    broker::{Broker, Standing},
    call::Call,
    downstream::{
        answer::{self, Asker, code},
        http::Visit,
        relay,
    },
    mcp::{Json, Passthrough, patch::Edits},
};

const UNSEEN: &str = "the answers were not sent: people were asked about this call, and its server would get them \
    without anyone having seen them; make the call again with what it needs in its arguments, or ask the operator \
    to allow the tool";

/// Passes on what is asked about it. Only the agent whose call it came of asks, and where people were asked about
/// that call, it brings nothing that nobody saw. Of what nothing is known the server decides, but for answers: a server
/// may take another spelling for the name of a task that is known.
pub(in crate::downstream) async fn of_server(
    visit: Visit,
    (pass, body): (Passthrough, Bytes),
    brings: bool,
    id: &str,
    asker: Asker,
) -> Response {
    let standing = visit.door.inner.broker.standing(&visit.grant.name, visit.server.name(), id).await;
    match standing {
        Ok(Standing::Own) => {}
        Ok(Standing::Unknown) => {
            let broker = &visit.door.inner.broker;
            if brings && !broker.may_bring_unknown(&visit.grant.name, visit.server.name()) {
                // As its server would say first.
                let declared = !asker.modern || super::declared_in(&body);
                return if declared { refused(&asker) } else { super::undeclared(&asker) };
            }
        }
        Ok(Standing::Anothers) => {
            return answer::error(StatusCode::OK, &asker.id, code::INVALID_PARAMS, NOT_FOUND, None);
        }
        Ok(Standing::Reviewed(call)) => {
            if brings && let Some(refusal) = unseen(&visit, &call, &asker).await {
                return refusal;
            }
        }
        Err(error) => {
            let text = format!("whose the task is cannot be read: {error}");
            return answer::error(StatusCode::OK, &asker.id, code::INTERNAL, &text, None);
        }
    }
    relay::message(visit, pass, body, Some(asker)).await
}

/// Why answers for the task that this call goes on as do not go up to its server.
pub(super) async fn unseen(visit: &Visit, call: &Call, asker: &Asker) -> Option<Response> {
    if visit.door.inner.broker.may_bring_more(call).await {
        return None;
    }
    Some(refused(asker))
}

fn refused(asker: &Asker) -> Response {
    answer::error(StatusCode::OK, &asker.id, code::INVALID_PARAMS, UNSEEN, None)
}

/// The server's list of its own tasks without those of other agents; `None`: there are none. It knows one client, the
/// broker, and may list them all.
pub(in crate::downstream) fn without_others(
    broker: &Broker,
    grant: &str,
    server: &str,
    list: Json<'_>,
) -> Option<Vec<u8>> {
    let is_anothers = |task: Json<'_>| {
        // Whose one without a name is cannot be told.
        let id = task.get("taskId").and_then(Json::string);
        id.is_none_or(|id| broker.is_anothers_task(grant, server, &id))
    };
    let mut edits = Edits::of(list);
    edits.retain(&["result", "tasks"], |task| !is_anothers(task));
    (!edits.is_empty()).then(|| edits.apply())
}
