//! What the table of a server may say: a command or a URL, and what goes with it.

use super::{Config, ConfigError, file::Server};

/// A key of the other kind of server, and whether it is there.
type Foreign = (&'static str, bool);

impl Config {
    /// A server is a command or a URL, with what goes with it, and the URL can be reached.
    pub(super) fn check_servers(&self) -> Result<(), ConfigError> {
        for (name, server) in &self.file.servers {
            let place = |key: &str| format!("servers.{name}.{key}");
            match (server.command.as_deref(), &server.url) {
                (Some(_), Some(_)) => {
                    let message = format!("the server {name:?} has both a command and a url");
                    let hint =
                        "keep the one by which it is reached; another server is another [servers.NAME]";
                    return Err(self.at(&place("url"), message, hint));
                }
                (None | Some([]), None) => {
                    let message = format!("the server {name:?} has neither a command nor a url");
                    let hint = "write command = [\"PROGRAM\", \"ARGUMENT\"], or url = \"https://HOST/PATH\"";
                    return Err(self.at(&place("command"), message, hint));
                }
                (Some(_), None) => self.check_foreign(name, ("command", "url"), &of_a_url(server))?,
                (None, Some(url)) => {
                    self.check_foreign(name, ("url", "command"), &of_a_command(server))?;
                    self.check_url(name, url)?;
                }
            }
        }
        Ok(())
    }

    /// It would do nothing, and whoever wrote it believes that it does.
    fn check_foreign(
        &self,
        name: &str,
        (kind, other): (&str, &str),
        foreign: &[Foreign],
    ) -> Result<(), ConfigError> {
        let Some((key, _)) = foreign.iter().find(|(_, is_there)| *is_there) else { return Ok(()) };
        let message = format!("the server {name:?} is a {kind}: it has no {key}");
        let hint = format!("take `{key}` out: it goes with a {other}");
        Err(self.at(&format!("servers.{name}.{key}"), message, hint))
    }

    fn check_url(&self, name: &str, url: &str) -> Result<(), ConfigError> {
        let parsed: Option<http::Uri> = url.parse().ok();
        let fits = parsed
            .is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
        if fits {
            return Ok(());
        }
        let message = format!("the url {url:?} of the server {name:?} is none that can be reached");
        let hint = "write url = \"https://HOST/PATH\", or http:// for a server in your own network";
        Err(self.at(&format!("servers.{name}.url"), message, hint))
    }
}

fn of_a_url(server: &Server) -> [Foreign; 3] {
    [
        ("transport", server.transport.is_some()),
        ("headers", !server.headers.is_empty()),
        ("oauth", server.oauth.is_some()),
    ]
}

fn of_a_command(server: &Server) -> [Foreign; 3] {
    [("env", !server.env.is_empty()), ("cwd", server.cwd.is_some()), ("limits", server.limits.is_some())]
}
