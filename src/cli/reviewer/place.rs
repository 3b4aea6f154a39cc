//! Which broker a reviewer means who names none: the one that runs in this folder, else that of the last login.

/// What runs in the folder, or on the configuration that was named.
#[derive(Debug)]
pub(in crate::cli) enum Place {
    /// A broker: where it listens on this machine, and its public address.
    Runs { local: String, public: String },
    /// There is a configuration or a store, and no broker on it.
    Idle,
    /// Nothing of a broker is here.
    Nothing,
}

impl Place {
    /// The address of the broker here: one at which somebody has signed in, else the one that surely answers.
    pub(super) fn url(&self, has_login: impl Fn(&str) -> bool) -> Option<String> {
        let Self::Runs { local, public } = self else { return None };
        let known = [public, local].into_iter().find(|url| has_login(url));
        let answers = if local.starts_with("http://127.") || local.starts_with("http://[::1]") {
            local
        } else {
            public
        };
        Some(known.unwrap_or(answers).clone())
    }
}

/// Two spellings of one address.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    let plain = |url: &str| url.trim_end_matches('/').replace("//localhost:", "//127.0.0.1:");
    plain(a) == plain(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_one_has_signed_in_at_comes_first() {
        let runs = |local: &str| Place::Runs { local: local.into(), public: "https://public".into() };
        let here = runs("http://127.0.0.1:1");
        assert_eq!(here.url(|_| false).as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(here.url(|url| url == "https://public").as_deref(), Some("https://public"));
        assert_eq!(runs("https://0.0.0.0:1").url(|_| false).as_deref(), Some("https://public"));
        assert_eq!(Place::Idle.url(|_| true), None);
        assert!(is_same("http://localhost:1/", "http://127.0.0.1:1") && !is_same("http://a", "http://b"));
    }
}
