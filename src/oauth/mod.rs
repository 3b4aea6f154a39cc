//! OAuth 2.1 on both sides of the broker: a resource server for agents, a client of the servers behind it.
//!
//! The two sides never meet. An access token that an agent brings names a grant and goes nowhere else; a
//! token that a server behind us wants is obtained by the broker itself and never reaches an agent or a log.
//!
//! For agents: `resource` (is it one of ours), `jwt`, `jwk`. For servers: `login` (a person signs in),
//! `introduce` (where, and who we are), `account` (the token of this moment), `scopes` (what it may do, and
//! what a server finds missing), `vault` (at rest).

mod account;
mod accounts;
mod challenge;
mod credential;
mod discovery;
mod fetch;
mod introduce;
mod jwk;
mod jwt;
mod login;
mod resource;
mod scopes;
mod vault;

pub use account::{Account, Bearer, ClientSettings};
pub use accounts::{Accounts, Now, forget_beside, standings_beside};
pub use fetch::Fetch;
pub use introduce::{Introduction, check_document};
pub use jwt::Algorithm;
pub use login::{Begun, Return, Stage};
pub use resource::{Refused, Resource, ResourceSettings, looks_like_jwt};
pub use scopes::{Standing, StandingState};
