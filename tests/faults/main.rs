//! Whatever goes wrong around the broker, the agent gets the documented answer, nothing is lost, and other
//! calls do not notice.

#[expect(dead_code, reason = "only the kill harness has sessions")]
#[path = "../crash/http.rs"]
mod http;

mod rig;

mod disk;
mod frames;
mod policies;
mod servers;
