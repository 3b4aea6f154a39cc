//! One server: its name, how it is reached, and the identity that digests bind to.

/// A server of the registry.
#[derive(Debug)]
pub struct Server {
    name: String,
    identity: String,
}

impl Server {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The command line or the URL: part of each call's digest.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// `stdio` or `http`.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        unimplemented!()
    }
}
