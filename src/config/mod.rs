//! The configuration: one TOML file, environment overrides, secrets read from where they lie.
//!
//! Each module owns its settings; here they are composed, and every error says where and what to do.

mod advice;
mod compose;
mod error;
mod file;
mod overrides;
mod policies;
mod secret;
mod servers;

use std::path::{Path, PathBuf};

pub use compose::{Composed, Tls};
pub use error::ConfigError;
pub use file::{File, GrantServers, Notify, Server, Webhook};
use overrides::Given;
pub use overrides::{environment, misspelt};
pub use policies::{LoadedPolicy, Policies};

/// Every key with its default and what it does; parsed by a test.
pub const DEFAULTS: &str = include_str!("default.toml");

/// A configuration as read: the file's content, where it lies, and the text that error lines refer to.
#[derive(Clone, Debug)]
pub struct Config {
    pub file: File,
    /// Relative paths in the file start here.
    pub folder: PathBuf,
    /// `None`: embedded defaults.
    pub path: Option<PathBuf>,
    text: String,
    /// Where to listen, said on the command line.
    listen: Option<String>,
}

impl Config {
    /// Reads a file and the `COUNTERSIGN_…` overrides.
    ///
    /// # Errors
    /// With line, column, and what was expected.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error: error.to_string() })?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Self::parse(&text, Some(path.to_owned()), folder, environment()?.into_iter())
    }

    /// No file: defaults and overrides, store and links beside the working folder.
    ///
    /// # Errors
    /// An override that does not fit.
    pub fn embedded() -> Result<Self, ConfigError> {
        Self::parse("", None, PathBuf::new(), environment()?.into_iter())
    }

    /// Parses `text` with the overrides among `variables`.
    ///
    /// # Errors
    /// As `load`.
    pub fn parse(
        text: &str,
        path: Option<PathBuf>,
        folder: PathBuf,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let shown = path.clone().unwrap_or_else(|| PathBuf::from("(embedded defaults)"));
        let table: toml::Table =
            toml::from_str(text).map_err(|error| ConfigError::syntax(&shown, text, &error))?;
        // The file is checked alone first, so that an error's line is the file's.
        let file: File = toml::from_str(text).map_err(|error| ConfigError::syntax(&shown, text, &error))?;
        let given = overrides::among(variables);
        let with = |given: &[&Given]| {
            let file = overrides::applied(&table, &file, given)?;
            let (path, folder) = (path.clone(), folder.clone());
            let config = Self { file, folder, path, text: text.to_owned(), listen: None };
            config.check().map(|()| config)
        };
        let all: Vec<&Given> = given.iter().collect();
        with(&all).map_err(|error| overrides::blamed(error, &all, |some| with(some).is_ok()))
    }

    /// Listens there, whatever the file says, now and when it is read again.
    pub fn listen_on(&mut self, listen: String) {
        self.file.listen.clone_from(&listen);
        self.listen = Some(listen);
    }

    /// The same as the file has it now.
    ///
    /// # Errors
    /// As `load`.
    pub fn read_again(&self) -> Result<Self, ConfigError> {
        let Some(path) = &self.path else { return Ok(self.clone()) };
        let mut fresh = Self::load(path)?;
        if let Some(listen) = &self.listen {
            fresh.listen_on(listen.clone());
        }
        Ok(fresh)
    }

    fn shown(&self) -> PathBuf {
        self.path.clone().unwrap_or_else(|| PathBuf::from("(embedded defaults)"))
    }

    /// An error at the table or key `place`, such as `servers.search` or `servers.search.url`.
    fn at(&self, place: &str, message: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        ConfigError::At {
            path: self.shown(),
            line: error::line_of(&self.text, place),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A path of the file, seen from the file's folder.
    #[must_use]
    pub fn path_of(&self, relative: &str) -> PathBuf {
        self.folder.join(relative)
    }

    /// Where the store lies: `sqlite:PATH`.
    ///
    /// # Errors
    /// Another database than SQLite, which this version does not have.
    pub fn store_path(&self) -> Result<PathBuf, ConfigError> {
        match self.file.store.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(self.path_of(path)),
            Some(("postgres" | "postgresql", _)) => Err(self.at(
                "store",
                "this version keeps its audit log in SQLite only",
                "write store = \"sqlite:countersign.db\"",
            )),
            Some(_) | None => Err(self.at(
                "store",
                format!("the store {:?} is of no known kind", self.file.store),
                "write store = \"sqlite:PATH\"",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Some("countersign.toml".into()), PathBuf::new(), std::iter::empty())
    }

    #[test]
    fn the_shipped_defaults_are_what_an_empty_file_means() {
        let shipped = parse(DEFAULTS).expect("the default file parses").file;
        assert_eq!(format!("{shipped:#?}"), format!("{:#?}", parse("").expect("an empty file").file));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse("listen = \"127.0.0.1:1\"\nlisten_on = 3\n").expect_err("refused").to_string();
        assert!(error.contains("countersign.toml:2") && error.contains("listen_on"), "{error}");
    }

    #[test]
    fn an_address_off_loopback_without_tls_is_refused() {
        let error = parse("listen = \"0.0.0.0:8787\"").expect_err("refused").to_string();
        assert!(error.contains("tls.cert"), "{error}");
    }

    #[test]
    fn the_environment_overrides_a_key() {
        let variables = [("COUNTERSIGN_LISTEN".to_owned(), "127.0.0.1:9".to_owned())];
        let config = Config::parse("", None, PathBuf::new(), variables.into_iter()).expect("parses");
        assert_eq!(config.file.listen, "127.0.0.1:9");
    }

    #[test]
    fn a_destination_that_cannot_be_used_is_named_without_its_secret() {
        let text = "\n[notify.slack.room]\nwebhook = \"http://hooks.example/T0/B0/urlsecret\"\n";
        let error = parse(text).expect("parses").compose().expect_err("refused").to_string();
        assert!(error.contains("countersign.toml:2") && error.contains("not https"), "{error}");
        assert!(!error.contains("urlsecret"), "{error}");
    }

    #[test]
    fn a_server_name_with_two_underscores_is_refused_with_its_line() {
        let error = parse("\n[servers.a__b]\ncommand = [\"x\"]\n").expect_err("refused").to_string();
        assert!(error.contains("countersign.toml:2") && error.contains("a__b"), "{error}");
    }

    #[test]
    fn an_address_that_nobody_could_open_is_refused_with_its_line() {
        for (text, means) in [
            ("\npublic_url = \"approvals.example\"", "a scheme and a host"),
            ("\npublic_url = \"https://approvals.example/sub\"", "no path"),
            ("[servers.a]\nurl = \"ftp://x\"", "https://HOST/PATH"),
            ("[servers.a]\nurl = \"search.example/mcp\"", "https://HOST/PATH"),
        ] {
            let error = parse(text).expect_err("refused").to_string();
            assert!(error.contains("countersign.toml:2") && error.contains(means), "{error}");
        }
        let good =
            "public_url = \"https://approvals.example:8443/\"\n[servers.a]\nurl = \"http://[::1]:1/mcp\"";
        parse(good).expect("accepted");
    }

    #[test]
    fn what_is_read_at_the_start_only_is_named() {
        let changed = |text: &str| parse(text).unwrap().file.waits_for_restart(&parse("").unwrap().file);
        assert!(changed("[servers.a]\nurl = \"http://x\"\n[notify]\n").is_empty());
        let text = "public_url = \"https://x.example\"\n[limits]\npending = 7\n[mcp]\nwait_tool = true\n";
        assert_eq!(changed(text), ["public_url", "limits", "mcp"]);
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_what_to_write_instead() {
        for (text, line, says) in [
            ("\nlisten = 127.0.0.1:8787", 2, "write listen = \"127.0.0.1:8787\""),
            ("\nlisten = 8787", 2, "as in listen = \"127.0.0.1:8787\""),
            ("[servers.a]\ncommand = \"uvx it --x\"", 2, "write command = [\"uvx\", \"it\", \"--x\"]"),
            ("[servers.a]\nurl = [\"http://x\"]", 2, "write url = \"http://x\""),
            ("[servers.a]\ncommand = [\"npx\"]\nargs = [\"-y\"]", 3, "command = [\"PROGRAM\", \"-y\"]"),
            ("\nlistne = \"x\"", 2, "did you mean `listen`?"),
            ("[servers.a]\npolcy = \"p\"", 2, "did you mean `policy`?"),
            ("[servers.a]\ncommand = [\"x\"]\nurl = \"http://x\"", 3, "both a command and a url"),
            ("\n[servers.a]\npolicy = \"p\"", 2, "neither a command nor a url"),
            ("servers = { a = {\ncommand = [\"x\"], transport = \"sse\" } }", 2, "goes with a url"),
            ("[servers.a]\nurl = \"http://x\"\nenv = { A = \"1\" }", 3, "it has no env"),
            ("[servers.a]\nurl = \"http://x\"\ncwd = \".\"", 3, "goes with a command"),
            ("[servers.a]\nurl = \"http://x\"\n[servers.a.limits]", 3, "it has no limits"),
            ("[servers.a]\ncommand = [\"x\"]\n\nheaders = { A = \"1\" }", 4, "it has no headers"),
            ("[servers.a]\ncommand = [\"x\"]\n[servers.a.oauth]", 3, "take `oauth` out"),
            ("[grants.a]\nservers = \"files\"", 2, "write servers = [\"files\"]"),
            ("\n\n[notify.slack]\nwebhook = \"x\"", 4, "[notify.slack.NAME]"),
            ("[mcp]\nmax_depth = 1001", 2, "write at most 1000"),
            ("[mcp.patience]\nmine = \"50s\"", 2, "write mine = 50"),
            ("[mcp.patience]\n\nmine = \"expire\"", 3, "write mine = \"expiry\""),
            ("[mcp.patience]\n\nmine = true", 3, "a number of seconds, \"expiry\" or"),
            ("[ledger]\nallowed = \"bached\"", 2, "did you mean \"batched\"?"),
            ("[approval]\n\nmax_wait = \"soon\"", 3, "is no duration"),
            ("listen = \"0.0.0.0:1\"\n[tls]\ncert = \"c.pem\"", 3, "`cert` and no `key`"),
            ("[tls]\nkey = \"k.pem\"", 2, "`key` and no `cert`"),
        ] {
            let error = parse(text).expect_err("refused").to_string();
            assert!(
                error.starts_with(&format!("countersign.toml:{line}:")) && error.contains(says),
                "{error}"
            );
        }
    }

    #[test]
    fn a_variable_that_does_not_fit_is_named_and_the_file_is_not_blamed() {
        let with = |text: &str, variables: &[(&str, &str)]| {
            let variables =
                variables.iter().map(|(name, value)| (format!("COUNTERSIGN_{name}"), (*value).into()));
            Config::parse(text, Some("countersign.toml".into()), PathBuf::new(), variables.into_iter())
        };
        let name = ("NAME", "b");
        for (variable, says) in [
            (("LISTEN", "bad"), "no address to listen on"),
            (("LIMITS__PENDING", "x"), "as in pending = 100000"),
            (("LIMITS__PENDNG", "1"), "did you mean `pending`?"),
            (("LISTEN__X", "1"), "as in listen"),
            (("APPROVAL__MAX_WAIT", "soon"), "is no duration"),
            (("STORE", "postgres://x"), "SQLite only"),
        ] {
            let error = with("", &[name, variable]).expect_err("refused").to_string();
            let named = format!("the environment variable COUNTERSIGN_{}: ", variable.0);
            assert!(error.starts_with(&named) && error.contains(says), "{error}");
        }
        let both = [("LISTEN", "0.0.0.0:1"), ("TRUSTED_PROXIES", "[\"x\"]")];
        with("", &both).expect("what they mean together counts");
        let error = with("listen = \"bad\"", &[name]).expect_err("refused").to_string();
        assert!(error.starts_with("countersign.toml:1:"), "{error}");
    }
}
