//! Whatever goes wrong around the broker, the agent gets the documented answer, nothing is lost, and other
//! calls do not notice.

#[path = "../crash/http.rs"]
mod http;

mod disk;
mod frames;
mod house;
mod liar;
mod policies;
mod servers;
