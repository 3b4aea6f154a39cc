//! The parties: an authorization server, an MCP server that trusts it, and the broker between.

mod house;
mod issuer;
mod place;
mod server;

pub use house::{House, TOKEN, call, logged};
pub use issuer::{Issuer, Signer, fetch, now};
pub use place::{Place, trusting};
pub use server::Server;
