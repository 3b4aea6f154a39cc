//! Links, sessions and cookies as a browser meets them.

use std::time::Duration;

use serde_json::json;

use crate::rig::{NOW, World, world, world_at};

async fn link(w: &World) -> String {
    w.identity().sign_in_link("ann", Duration::from_secs(900), NOW).await.unwrap()
}

fn press(w: &World, link: &str) -> reqwest::RequestBuilder {
    w.http.post(w.url(link)).header("sec-fetch-site", "same-origin").header("origin", "null")
}

#[tokio::test]
async fn a_link_is_spent_once_by_its_button_and_signs_in() {
    let w = world().await;
    let link = link(&w).await;
    let page = w.http.get(w.url(&link)).send().await.unwrap();
    assert_eq!(page.headers()["cache-control"], "no-store");
    assert!(page.text().await.unwrap().contains("method=\"post\""));

    let presses = (0..20).map(|_| tokio::spawn(press(&w, &link).send()));
    let mut cookies = Vec::new();
    for one in presses.collect::<Vec<_>>() {
        let response = one.await.unwrap().unwrap();
        match response.status().as_u16() {
            303 => {
                let to = response.headers()["location"].to_str().unwrap();
                assert!(to.len() == "/#x=".len() + 43 && to.starts_with("/#x="), "{to}");
                cookies.push(response.headers()["set-cookie"].to_str().unwrap().to_owned());
            }
            status => assert!(matches!(status, 410 | 429), "{status}"),
        }
    }
    let [cookie] = cookies.as_slice() else { panic!("{} presses signed in", cookies.len()) };
    for part in ["countersign=css_", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "plain loopback: a Secure cookie would be lost");
    let pair = cookie.split(';').next().unwrap();
    let me = w.http.get(w.url("/api/v1/me")).header("cookie", pair);
    assert_eq!(w.send(me).await, (200, json!({ "name": "ann", "groups": ["ops"], "role": "reviewer" })));
}

#[tokio::test]
async fn a_link_from_another_sites_form_is_not_spent() {
    let w = world().await;
    let link = link(&w).await;
    for (name, value) in
        [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("x-countersign", "1")]
    {
        let response = w.http.post(w.url(&link)).header(name, value).send().await.unwrap();
        assert_eq!(response.status(), 403, "{name}");
    }
    assert_eq!(press(&w, &link).send().await.unwrap().status(), 303);
}

#[tokio::test]
async fn after_signing_in_only_a_path_of_this_site_is_followed() {
    let w = world().await;
    for (next, to) in [
        ("/c/0190?a=b%23c", "/c/0190?a=b"),
        ("/c/0190", "/c/0190"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/%5Cevil", "/"),
    ] {
        let link = link(&w).await;
        let response = press(&w, &format!("{link}?next={next}")).send().await.unwrap();
        let location = response.headers()["location"].to_str().unwrap();
        let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap();
        assert_eq!(location, format!("{to}#x={}", w.page_key(cookie)), "{next}");
    }
}

#[tokio::test]
async fn behind_tls_the_cookie_is_bound_to_the_host() {
    let w = world_at(Some("https://approvals.example")).await;
    let response = press(&w, &link(&w).await).send().await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-countersign=css_"), "{cookie}");
    assert!(cookie.ends_with("; Secure") && !cookie.contains("Domain"), "{cookie}");
}

#[tokio::test]
async fn a_token_signs_in_and_the_session_ends_on_sign_out() {
    let w = world().await;
    let ours = |request: reqwest::RequestBuilder| {
        request.header("sec-fetch-site", "same-origin").header("x-countersign", "1")
    };
    let sign_in = ours(w.http.post(w.url("/api/v1/session"))).json(&json!({ "token": w.bob }));
    let response = sign_in.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let signed_in: serde_json::Value = response.json().await.unwrap();
    let key = signed_in["x"].as_str().unwrap();
    assert_eq!(key, w.page_key(&cookie));
    let me = || w.send(w.http.get(w.url("/api/v1/me")).header("cookie", &cookie));
    assert_eq!(me().await.0, 200);
    let out = || w.http.delete(w.url("/api/v1/session")).header("cookie", &cookie);
    assert_eq!(w.send(ours(out())).await.0, 403, "another port has the cookie, but not the page's key");
    assert_eq!(w.send(out().bearer_auth("csr_wrong")).await.0, 204);
    assert_eq!(me().await.0, 200, "what was signed out there was not this session");
    let out = out().header("sec-fetch-site", "same-origin").header("x-countersign", key);
    let out = out.send().await.unwrap();
    assert_eq!(out.status(), 204);
    assert!(out.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(me().await.0, 401);
}

#[tokio::test]
async fn failed_sign_ins_are_slowed_down_and_right_ones_never() {
    let w = world().await;
    let attempt = |token: String| {
        let request = w.http.post(w.url("/api/v1/session")).header("sec-fetch-site", "same-origin");
        w.send(request.header("x-countersign", "1").json(&json!({ "token": token })))
    };
    for i in 0..20 {
        assert_eq!(attempt(format!("csr_{i}")).await.0, 401);
    }
    assert_eq!(attempt("csr_x".into()).await.0, 429);
    assert_eq!(attempt(w.ann.clone()).await.0, 200);
    let link = link(&w).await;
    assert_eq!(press(&w, &link).send().await.unwrap().status(), 303);
    assert_eq!(press(&w, &link).send().await.unwrap().status(), 429);
    w.clock.advance(Duration::from_secs(60));
    assert_eq!(attempt("csr_x".into()).await.0, 401);
}

#[tokio::test]
async fn a_person_with_a_spent_link_gets_a_page_and_a_program_a_problem() {
    let w = world().await;
    let link = link(&w).await;
    assert_eq!(press(&w, &link).send().await.unwrap().status(), 303);
    let page = press(&w, &link).header("accept", "text/html,*/*;q=0.8").send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["cache-control"]),
        (410, &"no-store".parse().unwrap())
    );
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().contains("countersign open"));
    let problem = press(&w, &link).send().await.unwrap();
    assert_eq!(problem.headers()["content-type"], "application/problem+json");
}
