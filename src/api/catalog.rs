//! What agents can reach and by which rules. The facts live above this module; `serve` gives them.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{ApiParts, Problem, extract::Body, who::Viewer};
use crate::{
    call::{Timestamp, Verdict},
    identity::Source,
    policy::{Evaluation, Facts},
};

/// What the door tells of servers, policies and the ledger's head.
pub trait Catalog: Send + Sync + 'static {
    fn servers(&self) -> Vec<ServerView>;
    fn policies(&self) -> Vec<PolicyView>;
    /// What all policies that apply say of a request.
    fn judge(&self, facts: &Facts<'_>) -> Evaluation;
    /// Severity and class of a tool, as the policies state them.
    fn risk(&self, agent: &str, server: &str, tool: &str) -> Option<(&'static str, &'static str)>;
    /// The ledger's signed head; none before the first.
    fn checkpoint(&self) -> Option<String>;
    /// What keeps this process from being ready, or an operator from sleeping; empty when all is well.
    fn troubles(&self) -> Vec<String>;
}

/// A server behind the broker.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServerView {
    pub name: String,
    /// `stdio` or `http`.
    pub kind: &'static str,
    /// Its command line or URL, without secrets.
    pub identity: String,
    /// In a word or two, e.g. `running`, `not started`, `unreachable`.
    pub state: String,
    /// Names of the agents that may reach it.
    pub grants: Vec<String>,
}

/// A policy in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PolicyView {
    pub name: String,
    pub digest: String,
    /// The agents and servers that it judges.
    pub grants: Vec<String>,
    pub servers: Vec<String>,
    /// Why the file as it is now was refused; the policy shown is the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub text: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ServerList {
    servers: Vec<ServerView>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PolicyList {
    policies: Vec<PolicyView>,
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
    /// Every rule that matched, in order.
    trace: Vec<String>,
}

/// The servers that agents can reach.
#[utoipa::path(get, path = "/api/v1/servers", tag = "catalog", responses(
    (status = 200, body = ServerList),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn servers(State(api): State<ApiParts>, _: Viewer) -> Json<ServerList> {
    Json(ServerList { servers: api.catalog.servers() })
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
    Json(PolicyList { policies: api.catalog.policies() })
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
    let Evaluation { verdict, trace, .. } = api.catalog.judge(&facts);
    let (verdict, rule, reason) = match verdict {
        Verdict::Allow { rule } => ("allow", rule, String::new()),
        Verdict::Review { terms } => ("require_approval", terms.reason.rule, terms.reason.text),
        Verdict::Deny { reason } => ("deny", reason.rule, reason.text),
        Verdict::Hide { rule } => ("hide", rule, String::new()),
    };
    Json(Explanation { verdict, rule, reason, trace })
}
