//! The door for people over a real store, a real broker and a real HTTP listener.

#[path = "api/guards.rs"]
mod guards;
#[path = "api/live.rs"]
mod live;
#[path = "api/openapi.rs"]
mod openapi;
#[path = "api/repeats.rs"]
mod repeats;
#[path = "api/reviews.rs"]
mod reviews;
#[path = "api/rig.rs"]
mod rig;
#[path = "api/schema.rs"]
mod schema;
#[path = "api/sign_in.rs"]
mod sign_in;
#[path = "api/told.rs"]
mod told;
