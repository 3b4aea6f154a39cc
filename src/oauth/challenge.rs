//! What a refusal asks for: the Bearer challenges of `WWW-Authenticate` (RFC 9110, RFC 6750, RFC 9728).

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// One Bearer challenge; of a parameter that comes twice, the first counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Challenge {
    pub error: Option<String>,
    pub scope: Option<String>,
    pub resource_metadata: Option<String>,
}

impl Challenge {
    fn set(&mut self, name: &str, value: String) {
        let place = match name.to_ascii_lowercase().as_str() {
            "error" => &mut self.error,
            "scope" => &mut self.scope,
            "resource_metadata" => &mut self.resource_metadata,
            _ => return,
        };
        place.get_or_insert(value);
    }
}

/// All of them, in order. Challenges of other schemes may stand between them, in the same line.
pub(super) fn bearer(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        // A description in another script must not hide the rest.
        let value = String::from_utf8_lossy(value.as_bytes());
        let mut is_ours = false;
        for item in items(&value) {
            let mut rest = item;
            if let Some((scheme, parameters)) = beginning(item) {
                is_ours = scheme.eq_ignore_ascii_case("bearer");
                if is_ours {
                    found.push(Challenge::default());
                }
                rest = parameters;
            }
            if let (true, Some(challenge), Some((name, value))) = (is_ours, found.last_mut(), parameter(rest))
            {
                challenge.set(name, value);
            }
        }
    }
    found
}

/// What stands between the commas that are not quoted.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(move |c: char| {
        let plain = !std::mem::take(&mut escaped);
        match c {
            '\\' if quoted && plain => escaped = true,
            '"' if plain => quoted = !quoted,
            _ => {}
        }
        c == ',' && !quoted
    });
    parts.map(str::trim).filter(|item| !item.is_empty())
}

/// The scheme and what follows it, where a challenge begins here; a parameter has its `=` right after its name.
fn beginning(item: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = item.split_once([' ', '\t']).unwrap_or((item, ""));
    let rest = rest.trim_start();
    (!scheme.contains('=') && !rest.starts_with('=')).then_some((scheme, rest))
}

fn parameter(item: &str) -> Option<(&str, String)> {
    let (name, value) = item.split_once('=')?;
    let value = value.trim();
    let value = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted),
        None => value.to_owned(),
    };
    Some((name.trim(), value))
}

/// Up to the closing quote, each escaped character as itself.
fn unquoted(text: &str) -> String {
    let (mut value, mut characters) = (String::new(), text.chars());
    while let Some(c) = characters.next() {
        match c {
            '"' => break,
            '\\' => value.extend(characters.next()),
            c => value.push(c),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&[u8]]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, http::HeaderValue::from_bytes(value).unwrap());
        }
        bearer(&headers)
    }

    fn of(error: &str, scope: &str, place: &str) -> Challenge {
        let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Challenge { error: said(error), scope: said(scope), resource_metadata: said(place) }
    }

    #[test]
    fn a_challenge_is_read_as_servers_write_it() {
        let two: [&[u8]; 2] = [
            b"Basic realm=\"x\"",
            b"Bearer realm=\"x\", my_scope=\"no\", scope=\"a b\", resource_metadata=\"https://x/y\"",
        ];
        assert_eq!(read(&two), [of("", "a b", "https://x/y")]);
        let one_line =
            b"Basic realm=\"a\\\", Bearer scope=\\\"no\", BEARER Error = insufficient_scope ,scope=\"a\", \
                         Digest scope=\"no\"";
        assert_eq!(read(&[one_line]), [of("insufficient_scope", "a", "")]);
        // The first of two of the same name, and a description that is not ASCII.
        let twice =
            "Bearer error_description=\"fehlt: Schlüssel, \\\"x\\\"\",error=\"e\",error=\"f\"".as_bytes();
        assert_eq!(read(&[twice]), [of("e", "", "")]);
        assert_eq!(read(&[b"Bearer", b"bearer scope=\"s\""]), [of("", "", ""), of("", "s", "")]);
        assert!(read(&[b"Negotiate dG9rZW4=", b"scope=\"no\""]).is_empty() && read(&[]).is_empty());
    }

    #[test]
    fn a_challenge_that_breaks_off_is_read_as_far_as_it_goes() {
        assert_eq!(
            read(&[b"Bearer error=\"insufficient_scope\", scope=\"a b"]),
            [of("insufficient_scope", "a b", "")]
        );
        assert_eq!(read(&[b",,Bearer ,=, scope=\"a\\"]), [of("", "a", "")]);
    }
}
