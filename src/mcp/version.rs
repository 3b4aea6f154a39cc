//! The published protocol revisions, and the names of the headers they use.

use std::fmt;

/// A revision of the protocol, oldest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

impl Version {
    pub const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];
    /// What a streamable HTTP request without `MCP-Protocol-Version` speaks.
    pub const UNSAID: Self = Self::V2025_03_26;
    pub const LATEST: Self = Self::V2026_07_28;

    /// Exact match only.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.as_str() == text)
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Stateless: no handshake, no sessions, `_meta` on each request.
    #[must_use]
    pub fn is_modern(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// A body may be a JSON-RPC batch.
    #[must_use]
    pub fn has_batches(self) -> bool {
        self <= Self::V2025_03_26
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The headers of the protocol. Names, not texts: looking one up parses nothing.
pub mod header {
    use http::HeaderName;

    pub static PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
    pub static SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
    pub static METHOD: HeaderName = HeaderName::from_static("mcp-method");
    pub static NAME: HeaderName = HeaderName::from_static("mcp-name");
    pub static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    pub static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
    pub static BAGGAGE: HeaderName = HeaderName::from_static("baggage");
    /// How the names of headers begin that mirror arguments.
    pub const PARAM: &str = "mcp-param-";
}
