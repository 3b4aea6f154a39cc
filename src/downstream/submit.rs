//! A `tools/call` that was sorted: brought before the broker, then let pass, told at once, or held.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, ready};
use http::{HeaderMap, StatusCode};

use super::{
    answer::{self, Asker},
    delivery::recall,
    elicit::{self, Offer},
    gate::Wanted,
    http::Visit,
    modern, reply,
    settings::Rungs,
    tasks,
    wait::{self, Thread},
};
use crate::{
    broker::{Allowed, Ask, End, Live, Outcome, Submission},
    call::{AttachKind, ClientInfo, Era},
    upstream::Outbound,
};

/// A call, and what its answer needs besides the call itself.
struct Asked {
    visit: Visit,
    body: Bytes,
    tool: String,
    asker: Asker,
    client: Arc<ClientInfo>,
    live: Live,
    unseen: Option<modern::Fault>,
    alone: bool,
    may_make: bool,
}

impl Asked {
    fn patience(&self) -> Option<Duration> {
        let settings = &self.visit.door.inner.settings;
        settings.patience(&self.visit.grant.name, &self.client, self.live.progress_token.is_some())
    }

    /// The call's own headers, as they go upstream when it is sent.
    fn headers(&self) -> HeaderMap {
        modern::headers_of_call(&self.visit.headers, &self.tool, self.asker.modern)
    }
}

/// What the policy allows is on its way to the upstream when the future is first polled; the rest is boxed.
pub(super) fn submit(
    visit: Visit,
    wanted: Wanted,
    body: Bytes,
) -> Either<impl Future<Output = Response> + Send, BoxFuture<'static, Response>> {
    let door = &visit.door.inner;
    if door.closing.is_cancelled() {
        return Either::Right(Box::pin(ready(answer::draining(&wanted.asker.id))));
    }
    let (as_task, may_make) = (wanted.as_task, wanted.may_make);
    let Wanted {
        tool,
        arguments,
        input_responses,
        asker,
        client,
        protocol,
        live,
        unseen,
        alone,
        lap,
        ..
    } = wanted;
    let ask = Ask {
        grant: visit.grant.clone(),
        server: visit.server.shared_name(),
        server_identity: visit.server.shared_identity(),
        session: visit.session.as_ref().map(|session| session.id.clone()),
        era: if asker.modern { Era::Modern } else { Era::Legacy },
        protocol,
        client: client.clone(),
        tool: tool.clone(),
        body: body.clone(),
        arguments,
        input_responses,
        unseen: unseen.is_some(),
        kind: AttachKind::Line,
        as_task: false,
    };
    if as_task {
        return Either::Right(Box::pin(tasks::begin(visit, ask, asker)));
    }
    let door = visit.door.clone();
    let asked = Asked { visit, body, tool, asker, client, live, unseen, alone, may_make };
    if let Some(state) = lap {
        return Either::Right(Box::pin(come_back(asked, ask, state)));
    }
    match door.inner.broker.submit(ask) {
        Either::Left(at_once) => {
            let submission = at_once.into_inner();
            if may_make {
                return Either::Right(Box::pin(settle(asked, submission)));
            }
            let Submission::Allowed(allowed) = submission else {
                return Either::Right(Box::pin(settle(asked, submission)));
            };
            let Asked { visit, body, tool, asker, .. } = asked;
            Either::Left(let_pass(visit, (allowed, body, &tool), asker))
        }
        Either::Right(submitting) => {
            Either::Right(Box::pin(async move { settle(asked, submitting.await).await }))
        }
    }
}

/// The call waits for people already.
async fn come_back(asked: Asked, ask: Ask, state: Box<str>) -> Response {
    if let Some(fault) = &asked.unseen {
        return mismatch(fault, &asked.asker);
    }
    let patience = asked.patience();
    let headers = asked.headers();
    let Asked { visit, asker, client, live, .. } = asked;
    let door = &visit.door.inner;
    let rungs = door.settings.rungs(&client, asker.modern, patience);
    let returned = door.broker.returned(ask, state).await;
    let live = Live { headers, ..live };
    wait::returned(visit, returned, asker, live, (patience, rungs)).await
}

/// A call that was not let pass at once.
async fn settle(asked: Asked, mut submission: Submission) -> Response {
    if let Submission::Recalled(outcome, ask) = submission {
        submission = recall(&asked.visit.door, outcome, ask).await;
    }
    let patience = asked.patience();
    let headers = asked.headers();
    let Asked { visit, body, tool, asker, live, unseen, alone, may_make, .. } = asked;
    match submission {
        Submission::Allowed(allowed) if may_make => {
            tasks::let_make(visit, (allowed, body, &tool), asker).await
        }
        Submission::Allowed(allowed) => let_pass(visit, (allowed, body, &tool), asker).await,
        Submission::Unseen => match unseen {
            Some(fault) => mismatch(&fault, &asker),
            None => wait::told_at_once(&visit, &Outcome::unrecorded(End::Unavailable), &asker),
        },
        Submission::Hidden => answer::json_with(StatusCode::OK, answer::unknown_tool(&tool, &asker)),
        Submission::Settled(outcome) => wait::told_at_once(&visit, &outcome, &asker),
        Submission::Recalled(outcome, _) => wait::recalled(&visit, &outcome, &asker),
        Submission::Waiting(waiter) => {
            let rungs = rungs_of(&visit, &waiter.now().request.client, (&asker, alone), &body, patience);
            drop((body, tool));
            let thread = Thread::of(&visit, &asker).filter(|_| alone);
            let live = Live { headers, ..live };
            wait::hold(visit, waiter, asker, live, (patience, thread, rungs)).await
        }
    }
}

/// How a call goes on when its line ends, and whether its client is asked to show a link meanwhile.
fn rungs_of(
    visit: &Visit,
    client: &ClientInfo,
    (asker, alone): (&Asker, bool),
    body: &[u8],
    patience: Option<Duration>,
) -> Rungs {
    let settings = &visit.door.inner.settings;
    let link = Offer::of(settings, client, || match &visit.session {
        _ if asker.modern => elicit::declared_in(body),
        session => alone && session.as_ref().is_some_and(|session| session.shows_links),
    });
    let task = asker.modern && tasks::declared_in(body);
    Rungs { task, link, ..settings.rungs(client, asker.modern, patience) }
}

/// Sends an allowed call.
pub(super) fn let_pass(
    visit: Visit,
    (allowed, body, tool): (Allowed, Bytes, &str),
    asker: Asker,
) -> impl Future<Output = Response> + Send + use<> {
    let headers = modern::headers_of_call(&visit.headers, tool, asker.modern);
    let (link, out) = (visit.link(), Outbound::post(body).with_headers(headers));
    async move {
        match visit.door.inner.broker.pass(allowed, &link, out).await {
            Ok((reply, recording)) => reply::pass_on(&visit, reply, Some(&asker), Some(recording)).await,
            Err(error) => wait::told_at_once(&visit, &answer::unsent(error), &asker),
        }
    }
}

pub(super) fn mismatch(fault: &modern::Fault, asker: &Asker) -> Response {
    answer::error(StatusCode::BAD_REQUEST, &asker.id, fault.code, &fault.message, None)
}
