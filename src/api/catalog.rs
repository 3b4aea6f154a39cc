//! What agents can reach, and by which rules.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{ApiParts, Problem, extract::Body, who::Viewer};
use crate::{
    broker::GrantRules,
    call::{Timestamp, Verdict},
    identity::Source,
    policy::{Facts, Policy, explain_all},
    upstream::Server,
};

/// What the door tells that lives beside the broker; `serve` gives it.
pub trait Catalog: Send + Sync + 'static {
    /// The policy files that are configured, in order of name.
    fn policies(&self) -> Vec<PolicyFile>;
    /// The ledger's signed head; none before the first.
    fn checkpoint(&self) -> Option<String>;
    /// What an operator should look at; empty when all is well.
    fn troubles(&self) -> Vec<String>;
}

/// A policy file as it lies on the disk.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    /// As the configuration writes it.
    pub name: String,
    /// Of the policy in force.
    pub digest: String,
    /// Why the file as it is now was refused; the policy in force is the one before.
    pub error: Option<String>,
    pub text: String,
}

/// A server behind the broker.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServerModel {
    name: String,
    /// `stdio` or `http`.
    kind: &'static str,
    /// Its command line or URL, without secrets.
    identity: String,
    /// Names of the agents that may reach it.
    grants: Vec<String>,
    /// Only of a server that wants the broker's sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_in: Option<SignInModel>,
}

/// How the broker stands with a server that wants its sign-in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignInModel {
    /// `done`; `needed`: an operator must run `countersign servers login NAME`; `refused`: sign-ins have not
    /// brought the scopes that the server finds missing.
    state: &'static str,
    /// Scopes that the server finds missing, if it named any; the next sign-in asks for them too.
    missing: Vec<String>,
}

/// A policy in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyModel {
    name: String,
    digest: String,
    /// The agents and servers that it judges.
    grants: Vec<String>,
    servers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    text: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ServerList {
    servers: Vec<ServerModel>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PolicyList {
    policies: Vec<PolicyModel>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AgentList {
    agents: Vec<AgentModel>,
}

/// An agent, never its token.
#[derive(Serialize, ToSchema)]
pub(super) struct AgentModel {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    servers: Vec<String>,
    /// `config` or `store`.
    source: &'static str,
    shared: bool,
    /// Names the token without telling it.
    token_id: String,
}

/// A request to be judged; nothing is run or recorded.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainAsk {
    agent: String,
    server: String,
    tool: String,
    #[schema(value_type = Option<Object>)]
    arguments: Option<Box<RawValue>>,
    session: Option<String>,
    /// The moment to judge it at; now unless said.
    #[schema(value_type = Option<String>)]
    now: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Explanation {
    /// `allow`, `require_approval`, `deny` or `hide`.
    verdict: &'static str,
    rule: String,
    reason: String,
    /// When the same call, made again, joins the one that waits: `grant`, `detached` or `never`.
    join: &'static str,
    /// Every rule that matched, in order.
    trace: Vec<String>,
}

/// The servers that agents can reach.
#[utoipa::path(get, path = "/api/v1/servers", tag = "catalog", responses(
    (status = 200, body = ServerList),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn servers(State(api): State<ApiParts>, _: Viewer) -> Json<ServerList> {
    let directory = api.broker.identity().directory();
    let reaching = |server: &str| {
        let agents = directory.agents.values().filter(|grant| grant.reaches(server));
        sorted(agents.map(|grant| &grant.name))
    };
    let servers = api.broker.upstreams().servers();
    let model = |server: &std::sync::Arc<Server>| ServerModel {
        name: server.name().to_owned(),
        kind: server.transport(),
        identity: server.identity().to_owned(),
        grants: reaching(server.name()),
        sign_in: server
            .account()
            .map(|account| account.standing())
            .map(|standing| SignInModel { state: standing.state.as_str(), missing: standing.missing }),
    };
    Json(ServerList { servers: servers.iter().map(model).collect() })
}

/// The agents, in order of name.
#[utoipa::path(get, path = "/api/v1/agents", tag = "catalog", responses(
    (status = 200, body = AgentList),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn agents(State(api): State<ApiParts>, _: Viewer) -> Json<AgentList> {
    let directory = api.broker.identity().directory();
    let agent = |grant: &std::sync::Arc<crate::identity::Grant>| AgentModel {
        name: grant.name.clone(),
        owner: grant.settings.owner.clone(),
        servers: grant.settings.servers.clone(),
        source: match grant.source {
            Source::Config => "config",
            Source::Store => "store",
        },
        shared: grant.settings.shared,
        token_id: grant.token_id.clone(),
    };
    let mut agents: Vec<AgentModel> = directory.agents.values().map(agent).collect();
    agents.sort_by(|a, b| a.name.cmp(&b.name));
    Json(AgentList { agents })
}

/// The policies in force.
#[utoipa::path(get, path = "/api/v1/policies", tag = "catalog", responses(
    (status = 200, body = PolicyList),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn policies(State(api): State<ApiParts>, _: Viewer) -> Json<PolicyList> {
    let rules = api.broker.rules();
    let has = |policies: &[std::sync::Arc<Policy>], digest: &str| {
        policies.iter().any(|policy| *policy.digest == *digest)
    };
    let model = |file: PolicyFile| {
        let judges = |rules: &GrantRules| {
            has(&rules.everywhere, &file.digest) || rules.by_server.values().any(|own| has(own, &file.digest))
        };
        let servers = rules.by_server.iter().filter(|(_, policies)| has(policies, &file.digest));
        let grants = rules.by_grant.iter().filter(|(_, own)| judges(own));
        PolicyModel {
            grants: sorted(grants.map(|(name, _)| name)),
            servers: sorted(servers.map(|(name, _)| name)),
            name: file.name,
            digest: file.digest,
            error: file.error,
            text: file.text,
        }
    };
    Json(PolicyList { policies: api.catalog.policies().into_iter().map(model).collect() })
}

/// What the policies say of a request.
#[utoipa::path(post, path = "/api/v1/policy/explain", tag = "catalog", request_body = ExplainAsk, responses(
    (status = 200, body = Explanation),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn explain(
    State(api): State<ApiParts>,
    _: Viewer,
    Body(ask): Body<ExplainAsk>,
) -> Json<Explanation> {
    let arguments = ask.arguments.as_ref().map_or("", |raw| raw.get());
    let facts = Facts {
        agent: &ask.agent,
        server: &ask.server,
        tool: &ask.tool,
        arguments: arguments.as_bytes(),
        session: ask.session.as_deref(),
        now: ask.now.unwrap_or_else(|| api.broker.clock().now()),
    };
    let rules = api.broker.rules();
    let why = explain_all(&rules.of(&ask.agent, &ask.server), &facts);
    let (verdict, rule, reason) = match why.verdict {
        Verdict::Allow { rule } => ("allow", rule, String::new()),
        Verdict::Review { terms } => ("require_approval", terms.reason.rule, terms.reason.text),
        Verdict::Deny { reason } => ("deny", reason.rule, reason.text),
        Verdict::Hide { rule } => ("hide", rule, String::new()),
    };
    Json(Explanation { verdict, rule, reason, join: why.join.as_str(), trace: why.found })
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut names: Vec<String> = names.cloned().collect();
    names.sort();
    names
}
