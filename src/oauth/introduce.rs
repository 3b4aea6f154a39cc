//! Which authorization server a server trusts, and who the broker is to it.

use http::StatusCode;
use reqwest::Url;
use serde_json::{Value, json};

use super::{
    Account,
    account::error_of,
    challenge,
    credential::Client,
    discovery::{ServerMetadata, authorization_server},
    fetch::{Fetch, address, is_here},
};

/// Where to sign in, and for what.
pub(super) struct Found {
    pub issuer: String,
    pub resource: String,
    pub scope: String,
    pub authorization_endpoint: Url,
    pub token_endpoint: Url,
    /// Each answer names its issuer.
    pub says_iss: bool,
    metadata: ServerMetadata,
}

impl Account {
    /// RFC 9728, then RFC 8414: each document must speak for whom it was asked about.
    pub(super) async fn find(&self) -> Result<Found, String> {
        let fetch = self.accounts.fetch()?;
        let refusal = fetch.get(&self.url).await?;
        let is_refused = refusal.status == StatusCode::UNAUTHORIZED;
        let challenges = if is_refused { challenge::bearer(&refusal.headers) } else { Vec::new() };
        let challenge = challenges.into_iter().next().unwrap_or_default();
        let resource = self.resource(fetch, challenge.resource_metadata.as_deref()).await?;
        let of = |name: &str| resource.get(name).and_then(Value::as_str).map(str::to_owned);
        let servers = resource.get("authorization_servers").and_then(Value::as_array);
        let issuer = servers.and_then(|all| all.first()?.as_str());
        let issuer = issuer.ok_or("the server's metadata names no authorization server")?;
        let metadata = authorization_server(fetch, issuer, &self.url).await?;
        if !metadata.code_challenge_methods_supported.iter().any(|method| method == "S256") {
            return Err(format!("the authorization server {issuer} does not offer PKCE with S256: refused"));
        }
        let endpoint = |written: &Option<String>, what: &str| {
            let written = written.as_deref().ok_or(format!("the authorization server has no {what}"))?;
            address(written, &self.url)
        };
        let offered = words(resource.get("scopes_supported"));
        let scope = if self.settings.scopes.is_empty() {
            challenge.scope.unwrap_or(offered)
        } else {
            self.settings.scopes.join(" ")
        };
        Ok(Found {
            issuer: metadata.issuer.clone(),
            resource: of("resource").unwrap_or_else(|| self.url.to_string()),
            scope,
            authorization_endpoint: endpoint(&metadata.authorization_endpoint, "authorization_endpoint")?,
            token_endpoint: endpoint(&metadata.token_endpoint, "token_endpoint")?,
            says_iss: metadata.authorization_response_iss_parameter_supported,
            metadata,
        })
    }

    /// The protected resource's metadata: where the refusal says, else where RFC 9728 puts it.
    async fn resource(&self, fetch: &Fetch, place: Option<&str>) -> Result<Value, String> {
        let path = self.url.path().trim_end_matches('/');
        let known = "/.well-known/oauth-protected-resource";
        let places = match place {
            Some(place) => vec![address(place, &self.url)?],
            None => [format!("{known}{path}"), known.to_owned()]
                .iter()
                .filter_map(|path| self.url.join(path).ok())
                .collect(),
        };
        let mut why = String::new();
        for place in places {
            match fetch.document(&place).await {
                Ok(document) if is_of_us(&self.url, &document) => return Ok(document),
                Ok(_) => return Err(format!("{place} speaks for another resource than {}", self.url)),
                Err(error) => why = error,
            }
        }
        Err(format!("the server {} does not say where to sign in: {why}", self.name))
    }

    /// Registered beforehand, else known by the address of a document of ours, else registered now, else the
    /// operator is told what to do: the order that MCP asks for.
    pub(super) async fn introduce(&self, found: &Found) -> Result<Client, String> {
        if let Some(id) = &self.settings.client_id {
            self.is_registered_at(&found.issuer, id)?;
            let methods = found.metadata.token_endpoint_auth_methods_supported.as_deref();
            // RFC 8414: what is not said is client_secret_basic.
            let basic = methods.is_none_or(|all| all.iter().any(|method| method == "client_secret_basic"));
            return Ok(Client { id: id.clone(), secret: None, basic });
        }
        let us = &self.accounts.0.us;
        let reads_documents = found.metadata.client_id_metadata_document_supported;
        if let Some(id) = us.client_id(&found.issuer).filter(|_| reads_documents) {
            return Ok(Client { id: id.to_owned(), secret: None, basic: false });
        }
        let Some(endpoint) = &found.metadata.registration_endpoint else {
            return Err(self.by_hand(found, "takes no registrations"));
        };
        let endpoint = address(endpoint, &self.url)?;
        let fetched = self.accounts.fetch()?.post_json(&endpoint, &us.registration()).await?;
        let body = fetched.body.as_ref().filter(|_| fetched.status.is_success());
        let text = |name: &str| body.and_then(|body| body.get(name)).and_then(Value::as_str);
        let Some(id) = text("client_id") else {
            return Err(self.by_hand(found, &format!("refused the registration ({})", error_of(&fetched))));
        };
        let secret = text("client_secret").map(str::to_owned);
        Ok(Client {
            id: id.to_owned(),
            secret,
            basic: text("token_endpoint_auth_method") == Some("client_secret_basic"),
        })
    }

    /// What was registered at one authorization server is told to no other, whatever the server names.
    fn is_registered_at(&self, issuer: &str, id: &str) -> Result<(), String> {
        let is_other = |known: &str| known.trim_end_matches('/') != issuer.trim_end_matches('/');
        let (name, said) = (&self.name, self.settings.issuer.as_deref());
        if let Some(known) = said.filter(|known| is_other(known)) {
            return Err(format!(
                "the server {name} names the authorization server {issuer}, but client_id is for {known}: if that \
                 is right, change issuer and client_id in [servers.{name}.oauth]"
            ));
        }
        let held = self.held().filter(|held| said.is_none() && held.client.id == id);
        if let Some(held) = held.filter(|held| is_other(&held.issuer)) {
            return Err(format!(
                "the server {name} names the authorization server {issuer}, but client_id was taken to {}: if that \
                 is right, run countersign servers logout {name}, and sign in again",
                held.issuer
            ));
        }
        Ok(())
    }

    /// Nothing goes by itself: what the operator must do.
    fn by_hand(&self, found: &Found, why: &str) -> String {
        let or = if found.metadata.client_id_metadata_document_supported {
            "; or set client_metadata_url, which it takes instead"
        } else {
            ""
        };
        format!(
            "the authorization server {} {why}; register the redirect address {} there and set client_id in \
             [servers.{}.oauth]{or}",
            found.issuer, self.accounts.0.us.redirect, self.name
        )
    }
}

/// Who the broker says it is to authorization servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Introduction {
    /// Where they send people back to.
    pub(super) redirect: String,
    /// Where the broker's client metadata document is: its client id, if that is an https address.
    place: String,
    /// `public_url`.
    root: String,
}

impl Introduction {
    /// With a document that is published at `place`, or else by the broker itself.
    #[must_use]
    pub fn of(public_url: &str, place: Option<&str>) -> Self {
        let place = place.map_or_else(|| format!("{public_url}/oauth/client.json"), str::to_owned);
        Self { redirect: format!("{public_url}/oauth/callback"), place, root: public_url.to_owned() }
    }

    /// The client id where `issuer` can read the document: over https, and not on this machine from elsewhere.
    fn client_id(&self, issuer: &str) -> Option<&str> {
        let is_local = |url: &str| Url::parse(url).is_ok_and(|url| is_here(&url));
        let is_readable = self.place.starts_with("https://") && (!is_local(&self.place) || is_local(issuer));
        is_readable.then_some(self.place.as_str())
    }

    fn registration(&self) -> Value {
        let local = Url::parse(&self.redirect).is_ok_and(|url| is_here(&url));
        json!({
            "client_name": "countersign",
            "redirect_uris": [self.redirect],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": if local { "native" } else { "web" },
        })
    }

    /// The client metadata document. It names its own address, which authorization servers compare.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = self.registration();
        document["client_id"] = json!(self.place);
        document["client_uri"] = json!(self.root);
        document
    }
}

/// Can the document be published at `place`? Authorization servers compare the address letter by letter, so
/// it is written as it is sent.
///
/// # Errors
/// In words, why it cannot be a client id.
pub fn check_document(place: &str) -> Result<(), String> {
    let url = Url::parse(place).map_err(|error| format!("it is no URL: {error}"))?;
    if url.scheme() != "https" {
        return Err("it is not https".into());
    }
    if url.path() == "/" || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some()
    {
        return Err("it must have a path, and neither a user nor a fragment".into());
    }
    if url.as_str() != place {
        return Err(format!("write it as {url}"));
    }
    Ok(())
}

/// The document names our server's address, or one above it on the same host.
fn is_of_us(ours: &Url, document: &Value) -> bool {
    let Some(resource) = document.get("resource").and_then(Value::as_str) else { return false };
    let Ok(resource) = Url::parse(resource) else { return false };
    let (own, theirs) = (ours.path().trim_end_matches('/'), resource.path().trim_end_matches('/'));
    resource.origin() == ours.origin()
        && own.strip_prefix(theirs).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn words(list: Option<&Value>) -> String {
    let words = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_another_resource_is_not_ours() {
        let ours = Url::parse("https://mcp.example/a/mcp").unwrap();
        let says = |resource: &str| is_of_us(&ours, &json!({ "resource": resource }));
        for good in [
            "https://mcp.example/a/mcp",
            "https://mcp.example/a/mcp/",
            "https://mcp.example/a",
            "https://mcp.example",
        ] {
            assert!(says(good), "{good}");
        }
        for bad in [
            "https://evil.example/a/mcp",
            "http://mcp.example/a/mcp",
            "https://mcp.example/a/mc",
            "https://mcp.example/b",
            "mcp",
        ] {
            assert!(!says(bad), "{bad}");
        }
        assert!(!is_of_us(&ours, &json!({})));
    }

    #[test]
    fn a_documents_address_is_one_that_can_be_a_client_id() {
        for good in ["https://a.example/client.json", "https://a.example:8443/x/y?v=2"] {
            assert_eq!(check_document(good), Ok(()), "{good}");
        }
        for bad in [
            "http://a.example/client.json",
            "https://a.example",
            "https://a.example/",
            "https://A.example/client.json",
            "https://a.example/x/../client.json",
            "https://u@a.example/client.json",
            "https://a.example/client.json#x",
            "client.json",
        ] {
            assert!(check_document(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_broker_has_an_address_to_be_known_by_where_it_has_https() {
        let (away, here) = ("https://login.example", "http://127.0.0.1:9");
        let own = Introduction::of("https://a.example", None);
        assert_eq!(own.client_id(away), Some("https://a.example/oauth/client.json"));
        assert_eq!(own.document()["client_id"], "https://a.example/oauth/client.json");
        assert_eq!(Introduction::of("http://127.0.0.1:8787", None).client_id(here), None);
        let local = Introduction::of("https://127.0.0.1:8787", None);
        assert_eq!(local.client_id(away), None, "nobody elsewhere can read it");
        assert_eq!(local.client_id(here), Some("https://127.0.0.1:8787/oauth/client.json"));
        let hosted = Introduction::of("http://127.0.0.1:8787", Some("https://b.example/c.json"));
        assert_eq!(hosted.client_id(away), Some("https://b.example/c.json"));
        let document = hosted.document();
        assert_eq!(document["client_id"], "https://b.example/c.json");
        assert_eq!(document["redirect_uris"], json!(["http://127.0.0.1:8787/oauth/callback"]));
        assert_eq!(document["application_type"], "native");
    }
}
