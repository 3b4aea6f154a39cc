//! Every address of the door, in one table.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware,
    routing::{MethodRouter, any, delete, get, post},
};

use super::{
    ApiParts, Problem, assets, calls, catalog, guard, history, live, login, openapi, operations, stops, verbs,
};

/// Largest request body: reasons are short.
const LARGEST_BODY: usize = 64 * 1024;

/// Method and path of every route, in the order of `handlers`.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET", "/api/v1/me"),
    ("POST", "/api/v1/session"),
    ("DELETE", "/api/v1/session"),
    ("GET", "/api/v1/calls"),
    ("GET", "/api/v1/calls/{id}"),
    ("POST", "/api/v1/calls/{id}/reviews"),
    ("POST", "/api/v1/calls/{id}/withdraw"),
    ("POST", "/api/v1/calls/{id}/lift"),
    ("POST", "/api/v1/calls/{id}/cancel"),
    ("POST", "/api/v1/calls/{id}/extend"),
    ("POST", "/api/v1/calls/{id}/resolve"),
    ("GET", "/api/v1/live"),
    ("GET", "/api/v1/ledger"),
    ("GET", "/api/v1/ledger/checkpoint"),
    ("GET", "/api/v1/servers"),
    ("GET", "/api/v1/agents"),
    ("GET", "/api/v1/policies"),
    ("POST", "/api/v1/policy/explain"),
    ("GET", "/api/v1/stops"),
    ("POST", "/api/v1/stop"),
    ("POST", "/api/v1/resume"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/login/{token}"),
    ("POST", "/login/{token}"),
    ("GET", "/"),
    ("GET", "/history"),
    ("GET", "/c/{id}"),
    ("GET", "/agents"),
    ("GET", "/policies"),
    ("GET", "/assets/{*path}"),
];

fn handlers() -> Vec<MethodRouter<ApiParts>> {
    vec![
        get(login::me),
        post(login::sign_in),
        delete(login::sign_out),
        get(calls::list),
        get(calls::show),
        post(verbs::review),
        post(verbs::withdraw),
        post(verbs::lift),
        post(verbs::cancel),
        post(verbs::extend),
        post(verbs::resolve),
        get(live::live),
        get(history::ledger),
        get(history::checkpoint),
        get(catalog::servers),
        get(catalog::agents),
        get(catalog::policies),
        post(catalog::explain),
        get(stops::list),
        post(stops::stop),
        post(stops::resume),
        get(operations::healthz),
        get(operations::readyz),
        get(operations::metrics),
        get(openapi::openapi),
        get(login::page),
        post(login::spend),
        get(assets::index),
        get(assets::index),
        get(assets::index),
        get(assets::index),
        get(assets::index),
        get(assets::asset),
    ]
}

/// The door for people. Merge it beside the agents' door: the guard covers these routes only, and its
/// fallback answers whatever neither of them knows.
pub fn router(parts: ApiParts) -> Router {
    let table = ROUTES.iter().zip(handlers());
    let routes = table.fold(Router::new(), |router, ((_, path), handler)| router.route(path, handler));
    routes
        .fallback(any(|| async { Problem::not_found("There is no page or route of this name.") }))
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "Not with this method",
                "`/openapi.json` lists every route with its methods.",
            )
        })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(parts.clone(), guard::guard))
        .with_state(parts)
}
