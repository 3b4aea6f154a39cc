//! OAuth on both sides, against a small authorization server that really does its part, on loopback.
//!
//! `arriving`: agents that bring its access tokens. `signing_in`: the broker as a client of a server that
//! wants them. `introducing`: who it says it is there. `step_up`: servers that find a scope missing. `headers`:
//! servers that want a fixed secret instead. `by_command`: the operator's side. `streams`: the same of HTTP+SSE.
//! Whatever is issued here is looked for in every place where it must not be.

mod rig;

mod arriving;
mod by_command;
mod headers;
mod introducing;
mod signing_in;
mod step_up;
mod streams;
