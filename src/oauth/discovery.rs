//! What authorization servers say of themselves: RFC 8414, and OpenID Connect's older place for the same.

use reqwest::Url;
use serde::Deserialize;

use super::fetch::{Fetch, address};

/// The members that we read of an authorization server's metadata.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServerMetadata {
    pub issuer: String,
    pub authorization_endpoint: Option<String>,
    pub token_endpoint: Option<String>,
    pub registration_endpoint: Option<String>,
    pub jwks_uri: Option<String>,
    pub scopes_supported: Vec<String>,
    pub code_challenge_methods_supported: Vec<String>,
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    pub authorization_response_iss_parameter_supported: bool,
    pub client_id_metadata_document_supported: bool,
}

/// The metadata of `issuer`, which `from` named. A document that speaks for another issuer is refused: else
/// one authorization server could pass for another.
pub(super) async fn authorization_server(
    fetch: &Fetch,
    issuer: &str,
    from: &Url,
) -> Result<ServerMetadata, String> {
    let base = address(issuer, from)?;
    let mut whys = Vec::new();
    for place in places(&base) {
        let document = match fetch.document(&place).await {
            Ok(document) => document,
            Err(why) => {
                whys.push(why);
                continue;
            }
        };
        let metadata: ServerMetadata = serde_json::from_value(document)
            .map_err(|error| format!("{place} is no authorization server's metadata: {error}"))?;
        if metadata.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
            return Err(format!("{place} speaks for the issuer {:?}, not for {issuer:?}", metadata.issuer));
        }
        return Ok(metadata);
    }
    Err(format!("the authorization server {issuer} has no metadata: {}", whys.join("; ")))
}

/// In the order in which MCP asks for them.
fn places(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let mut paths = vec![
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        paths.push(format!("{path}/.well-known/openid-configuration"));
    }
    paths.iter().filter_map(|path| issuer.join(path).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_with_a_path_has_three_places() {
        let at = |issuer: &str| places(&Url::parse(issuer).unwrap()).iter().map(Url::to_string).collect();
        let three: Vec<String> = at("https://as.example/t1");
        assert_eq!(
            three,
            [
                "https://as.example/.well-known/oauth-authorization-server/t1",
                "https://as.example/.well-known/openid-configuration/t1",
                "https://as.example/t1/.well-known/openid-configuration"
            ]
        );
        let two: Vec<String> = at("https://as.example");
        assert_eq!(two.len(), 2);
    }
}
