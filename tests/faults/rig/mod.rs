//! The parties: brokers in this process and beside it, and a server that misbehaves on request.

pub mod house;
pub mod liar;
pub mod process;
