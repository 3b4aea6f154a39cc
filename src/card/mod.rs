//! What a reviewer is shown: nothing of what others wrote can hide, pose as ours or move what stands beside it.

mod beside;
mod visible;

pub use beside::{names_beside, sent_beside};
pub use visible::{is_plain, visible};
