//! What a reviewer is shown: nothing of what others wrote can hide, pose as ours or move what stands beside it.

mod visible;

pub use visible::{is_plain, visible};
