//! Which authorization server a server trusts, and who the broker is to it.

use http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE};
use reqwest::Url;
use serde_json::{Value, json};

use super::{
    Account,
    account::error_of,
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
        let challenge = (refusal.status == StatusCode::UNAUTHORIZED).then(|| challenge(&refusal.headers));
        let (place, wanted) = challenge.unwrap_or_default();
        let resource = self.resource(fetch, place.as_deref()).await?;
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
            wanted.unwrap_or(offered)
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

    /// Registered beforehand, else known by the address of a document of ours, else registered now.
    pub(super) async fn introduce(&self, found: &Found, redirect: &str) -> Result<Client, String> {
        if let Some(id) = &self.settings.client_id {
            let methods = found.metadata.token_endpoint_auth_methods_supported.as_deref();
            // RFC 8414: what is not said is client_secret_basic.
            let basic = methods.is_none_or(|all| all.iter().any(|method| method == "client_secret_basic"));
            return Ok(Client { id: id.clone(), secret: None, basic });
        }
        let public_url = &self.accounts.0.public_url;
        if found.metadata.client_id_metadata_document_supported && public_url.starts_with("https://") {
            return Ok(Client { id: format!("{public_url}/oauth/client.json"), secret: None, basic: false });
        }
        let Some(endpoint) = &found.metadata.registration_endpoint else {
            return Err(format!(
                "the authorization server {} takes no registrations; register the redirect address \
                 {redirect} there and set client_id in [servers.{}.oauth]",
                found.issuer, self.name
            ));
        };
        let endpoint = address(endpoint, &self.url)?;
        let fetched = self.accounts.fetch()?.post_json(&endpoint, &about_us(redirect)).await?;
        let body = fetched.body.as_ref().filter(|_| fetched.status.is_success());
        let text = |name: &str| body.and_then(|body| body.get(name)).and_then(Value::as_str);
        let Some(id) = text("client_id") else {
            return Err(format!("the authorization server refused the registration: {}", error_of(&fetched)));
        };
        let secret = text("client_secret").map(str::to_owned);
        Ok(Client {
            id: id.to_owned(),
            secret,
            basic: text("token_endpoint_auth_method") == Some("client_secret_basic"),
        })
    }
}

/// What an authorization server learns about the broker.
#[must_use]
pub fn about_us(redirect: &str) -> Value {
    let local = Url::parse(redirect).is_ok_and(|url| is_here(&url));
    json!({
        "client_name": "countersign",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": if local { "native" } else { "web" },
    })
}

/// The document names our server's address, or one above it on the same host.
fn is_of_us(ours: &Url, document: &Value) -> bool {
    let Some(resource) = document.get("resource").and_then(Value::as_str) else { return false };
    let Ok(resource) = Url::parse(resource) else { return false };
    let (own, theirs) = (ours.path().trim_end_matches('/'), resource.path().trim_end_matches('/'));
    resource.origin() == ours.origin()
        && own.strip_prefix(theirs).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `resource_metadata` and `scope` of a Bearer challenge.
fn challenge(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let all = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut bearer = all.filter(|value| value.get(..6).is_some_and(|s| s.eq_ignore_ascii_case("bearer")));
    let Some(value) = bearer.next() else { return (None, None) };
    (parameter(value, "resource_metadata"), parameter(value, "scope"))
}

fn parameter(challenge: &str, name: &str) -> Option<String> {
    let start = format!("{name}=\"");
    let at = challenge.match_indices(&start).find(|(at, _)| {
        let before = challenge[..*at].chars().next_back();
        before.is_some_and(|c| c == ' ' || c == ',')
    })?;
    challenge[at.0 + start.len()..].split('"').next().map(str::to_owned)
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
    fn a_challenge_is_read() {
        let value = "Bearer realm=\"x\", my_scope=\"no\", scope=\"a b\", resource_metadata=\"https://x/y\"";
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"x\"".parse().unwrap());
        headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        assert_eq!(challenge(&headers), (Some("https://x/y".into()), Some("a b".into())));
        assert_eq!(challenge(&HeaderMap::new()), (None, None));
    }
}
