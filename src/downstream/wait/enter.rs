//! How a call comes to wait, and what one is told that does not.

use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use tokio::time::Instant;

use super::{Thread, Wait, begin};
use crate::{
    broker::{End, Live, Outcome, Returned, Waiter},
    call::HowDelivered,
    downstream::{
        answer::{self, Asker},
        beats::Beats,
        delivery::{to_deliver, watch},
        elicit::Offer,
        http::Visit,
        settings::Rungs,
        stage::Stage,
    },
};

/// A call that never waited.
pub(in crate::downstream) fn told_at_once(visit: &Visit, outcome: &Outcome, asker: &Asker) -> Response {
    let body = answer::tell(outcome, asker, visit.door.inner.broker.clock().now());
    answer::json_with(StatusCode::OK, body)
}

/// The outcome of the same call, made before: its agent had left without it.
pub(in crate::downstream) fn recalled(visit: &Visit, outcome: &Outcome, asker: &Asker) -> Response {
    if let Some(call) = to_deliver(outcome) {
        watch(visit.door.clone(), call, HowDelivered::Recall, visit.peer.clone(), None);
    }
    told_at_once(visit, outcome, asker)
}

/// An agent that came back with a state of ours.
pub(in crate::downstream) async fn returned(
    visit: Visit,
    returned: Returned,
    asker: Asker,
    live: Live,
    (patience, rungs): (Option<Duration>, Rungs),
) -> Response {
    match returned {
        Returned::On(waiter, had) => {
            let laps = rungs.laps.map(|(most, _)| (most, had));
            hold(visit, waiter, asker, live, (patience, None, Rungs { laps, ..rungs })).await
        }
        Returned::Over(outcome) => recalled(&visit, &outcome, &asker),
        Returned::Unavailable => told_at_once(&visit, &Outcome::unrecorded(End::Unavailable), &asker),
        Returned::Refused(why) => {
            let text = format!("{why}; nothing was run for it. Make the call again without requestState");
            answer::error(StatusCode::BAD_REQUEST, &asker.id, answer::code::INVALID_PARAMS, &text, None)
        }
    }
}

/// Waits with the agent.
pub(in crate::downstream) async fn hold(
    visit: Visit,
    waiter: Box<Waiter>,
    asker: Asker,
    live: Live,
    (patience, thread, rungs): (Option<Duration>, Option<Thread>, Rungs),
) -> Response {
    let request = &waiter.now().request;
    let patience = visit.door.inner.learned.shortened(&request.agent, &request.client.name, patience);
    begin(seated(visit, waiter, (asker, live), (patience, thread, rungs))).await
}

/// Waits with an agent that asks for the result of its task: as long as it takes.
pub(in crate::downstream) async fn for_result(
    visit: Visit,
    waiter: Box<Waiter>,
    asker: Asker,
    live: Live,
    id: String,
) -> Response {
    let thread = Thread::of(&visit, &asker);
    let rungs = Rungs { task: false, laps: None, link: Offer::None };
    let mut wait = seated(visit, waiter, (asker, live), (None, thread, rungs));
    wait.of_task = Some(id.into());
    begin(wait).await
}

fn seated(
    visit: Visit,
    waiter: Box<Waiter>,
    (asker, live): (Asker, Live),
    (patience, thread, rungs): (Option<Duration>, Option<Thread>, Rungs),
) -> Box<Wait> {
    let door = visit.door.clone();
    let session = visit.session.as_ref().map(|session| &session.whose);
    let line = door.inner.lines.take(session, &String::from_utf8_lossy(&asker.id));
    let link = visit.link();
    Box::new(Wait {
        awake: (visit.session.clone(), link.hold()),
        link,
        line,
        brief: waiter.brief.clone(),
        stage: Stage::Waiting(waiter),
        peer: visit.peer,
        beats: Beats::new(door.inner.settings.heartbeat()),
        since: Instant::now(),
        until: patience.map(|patience| Instant::now() + patience),
        door,
        asker,
        live,
        thread,
        rungs,
        of_task: None,
    })
}
