//! Who is who: agents by their grants, people by their credentials. The two realms never mix.

mod directory;

pub use directory::{
    Access, Directory, Grant, GrantSettings, Identity, IdentityError, Join, NewSecret, Source,
};
