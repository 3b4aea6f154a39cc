//! Lists of all servers as one. Every server gives its page at the same time; the cursor says who has more.

use std::{collections::BTreeMap, sync::Arc};

use axum::response::Response;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use super::{greeting, names, said::Said, skills, tour::Tour, whose::By};
use crate::{
    downstream::{
        answer::{self, Asker, code},
        gate,
        held::of_list,
        http::{self as plain, Visit},
        reply,
    },
    mcp::{self, Answer, Json, Message, patch::Edits},
    upstream::{Server, aside},
};

/// One of the lists that servers give.
pub(super) struct List {
    method: &'static str,
    /// Where the elements stand in the result.
    key: &'static str,
    /// By what an element is asked for later.
    named_by: &'static str,
    by: By,
    /// Who declares no such capability is not asked.
    capability: &'static str,
}

const fn list_by(method: &'static str, key: &'static str, named_by: &'static str, by: By) -> List {
    let capability = if matches!(by, By::Uri) { "resources" } else { key };
    List { method, key, named_by, by, capability }
}

static LISTS: [List; 6] = [
    list_by("tools/list", "tools", "name", By::Name),
    list_by("prompts/list", "prompts", "name", By::Name),
    list_by("resources/list", "resources", "uri", By::Uri),
    list_by("resources/templates/list", "resourceTemplates", "uriTemplate", By::Uri),
    list_by("tasks/list", "tasks", "taskId", By::Task),
    list_by(skills::LIST, "skills", "uri", By::Uri),
];

pub(super) fn list_of(method: &str) -> Option<&'static List> {
    LISTS.iter().find(|list| list.method == method)
}

/// Each server that has more, and its own cursor. Opaque to clients; what it names is checked again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Cursor(BTreeMap<String, String>);

impl Cursor {
    pub(super) fn parse(json: Json<'_>) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(json.string()?.as_bytes()).ok()?;
        serde_json::from_slice(&bytes).ok().map(Self)
    }

    fn written(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(json!(self.0).to_string())
    }
}

/// Why the part of a server is not in an answer, by its name.
pub(super) type Absent = BTreeMap<String, String>;

pub(super) fn none_answered(asker: &Asker, absent: &Absent) -> Response {
    let why: Vec<_> = absent.iter().map(|(server, why)| about(server, why)).collect();
    let text = format!("no server answered: {}", why.join("; "));
    answer::error(StatusCode::OK, &asker.id, code::INTERNAL, &text, None)
}

/// What the plain endpoint says names its server already.
pub(super) fn about(server: &str, why: &str) -> String {
    if why.starts_with(&format!("the server {server} ")) {
        why.to_owned()
    } else {
        format!("{server}: {why}")
    }
}

pub(super) async fn list(
    tour: Tour,
    list: &'static List,
    cursor: Option<Cursor>,
    body: Bytes,
    asker: Asker,
) -> Response {
    let places: Vec<(Arc<Server>, Option<String>)> = match cursor {
        None => tour.servers().into_iter().map(|server| (server, None)).collect(),
        Some(Cursor(places)) => places
            .into_iter()
            .filter_map(|(server, place)| Some((tour.server(&server)?, Some(place))))
            .collect(),
    };
    let pages = places.into_iter().map(|(server, place)| {
        let (tour, body) = (&tour, &body);
        async move {
            let said = page(tour, list, &server, place.as_deref(), body).await;
            (server, said)
        }
    });
    let mut whole = Whole::default();
    for (server, said) in join_all(pages).await {
        match said {
            Ok(Some(said)) => whole.add(&tour, list, server.name(), said),
            Ok(None) => {}
            Err(why) => drop(whole.absent.insert(server.name().to_owned(), why)),
        }
    }
    if whole.answered {
        return written(&tour, &whole.written(list, asker.modern), &asker);
    }
    if whole.absent.is_empty() {
        return *gate::not_found(list.method, Some(&asker));
    }
    none_answered(&asker, &whole.absent)
}

/// The answer, which may be as large as all the pages.
fn written(tour: &Tour, result: &str, asker: &Asker) -> Response {
    let id = std::str::from_utf8(&asker.id).unwrap_or("null");
    let mut room = tour.door.inner.held.room(None, &tour.grant.name, usize::MAX);
    match room.hold(result.len()) {
        Ok(()) => {
            let whole = Bytes::from(mcp::answer::result(id, result));
            answer::json_with(StatusCode::OK, room.keep(whole))
        }
        Err(why) => answer::error(StatusCode::OK, &asker.id, code::INTERNAL, &of_list(why).to_string(), None),
    }
}

/// One server's page; `None`: it has no such list.
///
/// # Errors
/// There is no conversation with it; the log has why since that was tried.
async fn page(
    tour: &Tour,
    list: &List,
    server: &Arc<Server>,
    place: Option<&str>,
    body: &Bytes,
) -> Result<Option<Said>, String> {
    let Some(body) = placed(body, place) else { return Ok(None) };
    let mut said = None;
    // The second try is for a conversation that the server has forgotten.
    for _ in 0..2 {
        let Some(visit) = enter(tour, list, server).await? else { return Ok(None) };
        let session = visit.session.clone();
        let patience = tour.door.inner.settings.start_grace();
        let heard = async { tour.said(server, plain::post(visit, body.clone()).await).await };
        let asked = timeout(patience, heard).await;
        said = Some(asked.unwrap_or_else(|_| Said::late(patience.as_secs())));
        let now = tour.door.inner.broker.clock().now();
        let knows = |id: &str| tour.door.inner.sessions.find(server.name(), id, &tour.grant, now).is_some();
        if session.is_none_or(|session| knows(&session.id)) {
            break;
        }
    }
    Ok(said)
}

async fn enter(tour: &Tour, list: &List, server: &Arc<Server>) -> Result<Option<Visit>, String> {
    let Some(session) = &tour.session else { return Ok(Some(tour.visit(server, None))) };
    let part = tour.part(session, server, false).await?;
    Ok(part.has(list.capability).then(|| tour.visit(server, Some(&part))))
}

/// The request as it came, at that server's own place in its list.
fn placed(body: &Bytes, place: Option<&str>) -> Option<Bytes> {
    let Some(place) = place else { return Some(body.clone()) };
    let message = reply::read(body)?;
    let mut edits = Edits::of(message.raw());
    edits.set(&["params", "cursor"], &names::quoted(place));
    Some(edits.apply().into())
}

/// The pages of all servers.
#[derive(Default)]
struct Whole {
    elements: Vec<String>,
    next: Cursor,
    absent: Absent,
    fresh_ms: Option<f64>,
    answered: bool,
}

impl Whole {
    fn add(&mut self, tour: &Tour, list: &List, server: &str, said: Said) {
        let message = match said {
            Said::Result(message) => message,
            none @ (Said::Error { .. } | Said::Nothing { .. }) => {
                if none.is_unknown_method() {
                    return;
                }
                let why = none.why();
                tracing::warn!(server.name = server, why, "left out of {}", list.method);
                self.absent.insert(server.to_owned(), why.to_owned());
                return;
            }
        };
        aside(message.len(), || self.take(tour, list, server, &message));
    }

    fn take(&mut self, tour: &Tour, list: &List, server: &str, message: &[u8]) {
        let Some(Message::Response(response)) = reply::read(message) else { return };
        let Answer::Result(page) = response.answer else { return };
        self.answered = true;
        if let Some(elements) = page.get(list.key) {
            self.elements.extend(elements.elements().map(|element| named(tour, list, server, element)));
        }
        if let Some(place) = page.get("nextCursor").and_then(Json::string) {
            self.next.0.insert(server.to_owned(), place.into_owned());
        }
        let fresh = page.get("ttlMs").and_then(|ttl| ttl.as_str().parse().ok()).unwrap_or(0.0);
        self.fresh_ms = Some(self.fresh_ms.map_or(fresh, |known: f64| known.min(fresh)));
    }

    fn written(&self, list: &List, modern: bool) -> String {
        let mut text = format!("{{\"{}\":[{}]", list.key, self.elements.join(","));
        if !self.next.0.is_empty() {
            text.push_str(&format!(",\"nextCursor\":\"{}\"", self.next.written()));
        }
        if modern {
            let ttl = self.fresh_ms.filter(|_| self.absent.is_empty()).unwrap_or_default();
            text.push_str(&format!(
                ",\"resultType\":\"complete\",\"ttlMs\":{ttl:.0},\"cacheScope\":\"private\""
            ));
        }
        if let Some(meta) = greeting::meta(&self.absent, modern) {
            text.push_str(&format!(",\"_meta\":{meta}"));
        }
        text.push('}');
        text
    }
}

/// An element with the name that it has here; every other byte is the server's.
fn named(tour: &Tour, list: &List, server: &str, element: Json<'_>) -> String {
    if list.method == skills::LIST {
        return skills::named(server, element);
    }
    let mut edits = Edits::of(element);
    if let Some(own) = element.get(list.named_by).and_then(Json::string) {
        edits.set(&[list.named_by], &names::quoted(&tour.named(list.by, server, &own)));
    }
    // A tool may say which resource shows its results.
    let shown_by = ["_meta", "ui", "resourceUri"];
    if let Some(uri) = element.at(&shown_by).and_then(Json::string).filter(|_| list.by == By::Name) {
        edits.set(&shown_by, &names::quoted(&names::uri(server, &uri)));
    }
    String::from_utf8(edits.apply()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Limits, strict};

    #[test]
    fn a_server_is_named_once() {
        let why = "the server a cannot be reached: refused";
        assert_eq!(about("a", why), why);
        assert_eq!(about("b", "it is late"), "b: it is late");
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_given() {
        let cursor = Cursor([("a".to_owned(), "x\"/+".to_owned()), ("b".to_owned(), String::new())].into());
        let written = names::quoted(&cursor.written());
        let json = strict::check(written.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(Cursor::parse(json), Some(cursor));
        let odd = strict::check(br#""7""#, &Limits::default()).unwrap();
        assert_eq!(Cursor::parse(odd), None);
    }
}
