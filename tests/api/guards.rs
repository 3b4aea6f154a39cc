//! Who is kept out: the other realm, other sites, other names, and everything that is not meant to change.

use countersign::api::ROUTES;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::rig::{World, world, world_at};

/// A body that the route takes, so that only its guard can refuse it.
fn body(path: &str) -> Value {
    let tail = path.rsplit('/').next().unwrap();
    match tail {
        "reviews" => json!({ "vote": "deny", "digest": "0".repeat(64) }),
        "extend" => json!({ "by": "5m" }),
        "resolve" => json!({ "outcome": "done" }),
        "explain" => json!({ "agent": "bot", "server": "ops", "tool": "read" }),
        "stop" | "resume" => json!({ "agent": "x", "reason": "x" }),
        "session" => json!({ "token": "csr_wrong" }),
        _ => json!({}),
    }
}

fn fill(path: &str, id: &str) -> String {
    path.replace("{id}", id).replace("{token}", "csl_unknown").replace("{*path}", "app.js")
}

fn request(w: &World, method: &str, path: &str) -> RequestBuilder {
    let method: Method = method.parse().unwrap();
    let request = w.http.request(method.clone(), w.url(path));
    if method == Method::GET { request } else { request.json(&body(path)) }
}

/// Routes that answer anybody: pages, probes, and the doors to sign in and out.
fn is_public(method: &str, path: &str) -> bool {
    !path.starts_with("/api/") || path == "/api/v1/session" && method != "GET"
}

#[tokio::test]
async fn an_agents_token_opens_no_route_for_people() {
    let w = world().await;
    let waiter = w.park("cancel", "{}").await;
    let id = waiter.call().to_string();
    let before = w.head();
    for (method, path) in ROUTES.iter().filter(|(method, path)| !is_public(method, path)) {
        let path = fill(path, &id);
        for attempt in [
            request(&w, method, &path).bearer_auth(&w.agent),
            request(&w, method, &path)
                .header("cookie", format!("countersign={}", w.agent))
                .header("x-countersign", w.page_key(&format!("countersign={}", w.agent)))
                .header("sec-fetch-site", "same-origin"),
            request(&w, method, &path).header("sec-fetch-site", "same-origin").header("x-countersign", "1"),
            request(&w, method, &path).bearer_auth("csr_wrong"),
            request(&w, method, &path).basic_auth("ann", Some(&w.ann)),
        ] {
            let (status, problem) = w.send(attempt).await;
            assert_eq!(status, 401, "{method} {path}: {problem}");
            assert!(!problem.to_string().contains(&w.agent), "a token is never echoed");
        }
        let sep = if path.contains('?') { '&' } else { '?' };
        for name in ["token", "access_token", "Authorization"] {
            let queried = format!("{path}{sep}{name}={}", w.ann);
            let (status, _) = w
                .send(
                    request(&w, method, &queried)
                        .header("sec-fetch-site", "same-origin")
                        .header("x-countersign", "1"),
                )
                .await;
            assert_eq!(status, 401, "a token in the query string is no token: {method} {path}");
        }
    }
    let sign_in = w.http.post(w.url("/api/v1/session")).header("sec-fetch-site", "same-origin");
    let sign_in = sign_in.header("x-countersign", "1").json(&json!({ "token": w.agent }));
    assert_eq!(w.send(sign_in).await.0, 401);
    assert_eq!(w.head(), before);
    assert!(w.identity().grant(&w.ann).is_none(), "and the reverse");
}

#[tokio::test]
async fn reading_changes_nothing() {
    let w = world().await;
    let waiter = w.park("cancel", "{}").await;
    let id = waiter.call().to_string();
    let link =
        w.identity().sign_in_link("ann", std::time::Duration::from_secs(60), crate::rig::NOW).await.unwrap();
    let cookie = w.cookie(&w.ann).await;
    let before = w.head();
    for (_, path) in ROUTES.iter().filter(|(method, _)| *method == "GET") {
        let path = if path.contains("{token}") { link.clone() } else { fill(path, &id) };
        for method in ["GET", "HEAD"] {
            let (status, _) = w.send(request(&w, method, &path).header("cookie", &cookie)).await;
            assert!(matches!(status, 200 | 400 | 404 | 426), "{method} {path}: {status}");
        }
    }
    assert_eq!(w.head(), before);
    assert_eq!(w.call(waiter.call()).await["version"], Value::Null);
    let spend = w.http.post(w.url(&link)).header("sec-fetch-site", "same-origin");
    assert_eq!(spend.send().await.unwrap().status(), 303, "the link is still good");
}

#[tokio::test]
async fn a_change_with_a_cookie_comes_from_our_own_pages_only() {
    let w = world().await;
    let waiter = w.park("cancel", "{}").await;
    let path = format!("/api/v1/calls/{}/extend", waiter.call());
    let cookie = w.cookie(&w.ann).await;
    let own = format!("http://{}", w.address);
    let same = ("sec-fetch-site", "same-origin");
    let key = w.page_key(&cookie);
    let other = w.page_key(&w.cookie(&w.ann).await);
    let ours = ("x-countersign", key.as_str());
    let refused: &[&[(&str, &str)]] = &[
        &[],
        &[ours],
        &[same],
        &[ours, ("sec-fetch-site", "cross-site")],
        &[ours, ("sec-fetch-site", "same-site")],
        &[ours, ("sec-fetch-site", "none")],
        &[ours, ("origin", "https://evil.example")],
        &[ours, ("origin", "null")],
        &[ours, ("origin", "http://localhost:1")],
        &[ours, same, ("origin", "https://evil.example")],
        &[ours, ("sec-fetch-site", "cross-site"), ("origin", &own)],
        &[same, ("x-countersign", "")],
        &[same, ("x-countersign", "1")],
        &[same, ("x-countersign", &key[..42])],
        &[same, ("x-countersign", &other)],
        &[same, ours, ("x-countersign", "1")],
        &[("origin", &own)],
    ];
    let allowed: &[&[(&str, &str)]] =
        &[&[ours, same], &[ours, same, ("origin", &own)], &[ours, ("origin", &own)]];
    let before = w.head();
    let post = |headers: &[(&str, &str)]| {
        let request = w.http.post(w.url(&path)).header("cookie", &cookie).json(&json!({ "by": "1s" }));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    for headers in refused {
        let (status, problem) = w.send(post(headers)).await;
        assert_eq!(status, 403, "{headers:?}: {problem}");
    }
    assert_eq!(w.head(), before);
    for headers in allowed {
        let (status, problem) = w.send(post(headers)).await;
        assert_eq!(status, 200, "{headers:?}: {problem}");
    }
    let form =
        w.http.post(w.url(&path)).header("cookie", &cookie).header(same.0, same.1).header(ours.0, ours.1);
    let form = form.header("content-type", "application/x-www-form-urlencoded").body("by=5m");
    assert_eq!(w.send(form).await.0, 415);
}

#[tokio::test]
async fn other_hosts_and_other_origins_are_turned_away_everywhere() {
    let w = world_at(Some("https://approvals.example")).await;
    let port = w.address.port();
    for (_, path) in ROUTES.iter().filter(|(method, _)| *method == "GET") {
        let path = fill(path, "0190");
        let probe = matches!(path.as_str(), "/healthz" | "/readyz");
        for (host, good) in [
            ("approvals.example".to_owned(), true),
            (format!("localhost:{port}"), true),
            (format!("127.0.0.1:{port}"), true),
            ("evil.example".to_owned(), probe),
            (format!("evil.example:{port}"), probe),
            (format!("0.0.0.0:{port}"), probe),
            ("approvals.example.evil.example".to_owned(), probe),
        ] {
            let (status, _) =
                w.send(request(&w, "GET", &path).bearer_auth(&w.ann).header("host", &host)).await;
            assert_eq!(status != 421, good, "{path} as {host}: {status}");
        }
        for (origin, good) in [
            ("https://approvals.example".to_owned(), true),
            (format!("http://127.0.0.1:{port}"), true),
            ("http://approvals.example".to_owned(), false),
            ("https://evil.example".to_owned(), false),
            ("null".to_owned(), false),
            ("file://".to_owned(), false),
        ] {
            let (status, _) =
                w.send(request(&w, "GET", &path).bearer_auth(&w.ann).header("origin", &origin)).await;
            assert_eq!(status != 403, good, "{path} from {origin}: {status}");
        }
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_keep_pages_apart() {
    let w = world().await;
    for path in ["/", "/assets/app.js", "/api/v1/me", "/nowhere", "/login/csl_x", "/metrics"] {
        let response = w.http.get(w.url(path)).send().await.unwrap();
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        for part in ["default-src 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(headers[name], value, "{path}");
        }
        assert!(headers.get("access-control-allow-origin").is_none());
        if path.starts_with("/api/") {
            assert_eq!(headers["cache-control"], "no-store");
        }
    }
}

#[tokio::test]
async fn a_page_is_sent_again_only_when_it_changed() {
    let w = world().await;
    for path in ["/", "/history", "/c/0190", "/agents", "/policies"] {
        let response = w.http.get(w.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(response.headers()["cache-control"], "no-cache");
    }
    let script = w.http.get(w.url("/assets/app.js")).send().await.unwrap();
    assert_eq!(script.headers()["content-type"], "text/javascript; charset=utf-8");
    let tag = script.headers()["etag"].clone();
    let again = w.http.get(w.url("/assets/app.js")).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    for bad in ["/assets/nothing.js", "/assets/..%2findex.html", "/assets/..%2f..%2fCargo.toml", "/assets/"] {
        assert_eq!(w.http.get(w.url(bad)).send().await.unwrap().status(), 404, "{bad}");
    }
}
