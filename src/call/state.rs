//! Where a call stands. Each state owns exactly its own data.

use serde::{Deserialize, Serialize};

use super::{
    AttachKind, Attachment, By, CallId, Digest, HowDelivered, Replica, Request, Resolution, Review, Terms,
    Timestamp, Used, Why,
};

/// A call as its events made it: `fold(events)`.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub struct Call {
    pub id: CallId,
    /// How many events it has; the compare-and-swap of `append`.
    pub version: u64,
    pub request: Request,
    /// Binds the present round; changes with each re-park.
    pub digest: Digest,
    /// Digest of the policies that judged the present round.
    pub policy: String,
    pub round: u32,
    pub rule: String,
    /// `None`: allowed by policy.
    #[serde(default)]
    pub terms: Option<Terms>,
    /// Votes of the present round.
    #[serde(default)]
    pub reviews: Vec<Review>,
    /// Who holds the line, if anyone.
    #[serde(default)]
    pub waiter: Option<Waiter>,
    /// The agent was told to call again: leaving no longer counts as leaving.
    #[serde(default)]
    pub ticket: bool,
    /// Since when nobody waits (unsettled calls only).
    #[serde(default)]
    pub detached_at: Option<Timestamp>,
    #[serde(default)]
    pub delivered: Option<HowDelivered>,
    pub requested_at: Timestamp,
    #[serde(default)]
    pub settled_at: Option<Timestamp>,
    pub state: State,
}

#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub struct Waiter {
    pub attachment: Attachment,
    pub kind: AttachKind,
    #[serde(default)]
    pub session: Option<String>,
    pub replica: Replica,
}

#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    Pending {
        expires_at: Timestamp,
    },
    /// `expires_at` is the pending call's own: a withdrawn vote gives no more time to decide.
    Permitted {
        use_by: Timestamp,
        expires_at: Timestamp,
    },
    Dispatched {
        by: Replica,
        lease_until: Timestamp,
        at: Timestamp,
        /// What it took of its limits.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        taken: Vec<Used>,
    },
    Completed {
        is_error: bool,
        duration_ms: u64,
    },
    Failed {
        why: String,
    },
    Lost {
        why: String,
        resolved: Option<Resolution>,
        late_answer: bool,
    },
    Denied {
        by: By,
        reason: Why,
        /// A person ended its answering the same call made again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lifted: bool,
    },
    Expired {
        lapsed: bool,
    },
    Cancelled {
        by: By,
        reason: Why,
    },
}

/// The state's name, as on the wire and in queries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    Pending,
    Permitted,
    Dispatched,
    Completed,
    Failed,
    Lost,
    Denied,
    Expired,
    Cancelled,
}

impl StateName {
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Permitted,
        Self::Dispatched,
        Self::Completed,
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
        Self::Failed,
        Self::Lost,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Permitted => "permitted",
            Self::Dispatched => "dispatched",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// As people read it, in pages, on the terminal and in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "waiting",
            Self::Permitted => "approved",
            Self::Dispatched => "running",
            Self::Completed => "ran",
            Self::Failed => "not sent",
            Self::Lost => "unknown outcome",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "withdrawn",
        }
    }

    /// By its name or by the word for people, however spelt.
    ///
    /// # Errors
    /// There is no such state, in words that name those there are.
    pub fn read(text: &str) -> Result<Self, String> {
        let asked = text.trim().to_lowercase().replace(['_', '-'], " ");
        let found = Self::ALL.into_iter().find(|state| asked == state.as_str() || asked == state.word());
        found.ok_or_else(|| {
            let words = Self::ALL.map(Self::word).join(", ");
            format!("there is no state {:?}; the states are {words}", text.trim())
        })
    }
}

impl State {
    #[must_use]
    pub fn name(&self) -> StateName {
        match self {
            Self::Pending { .. } => StateName::Pending,
            Self::Permitted { .. } => StateName::Permitted,
            Self::Dispatched { .. } => StateName::Dispatched,
            Self::Completed { .. } => StateName::Completed,
            Self::Failed { .. } => StateName::Failed,
            Self::Lost { .. } => StateName::Lost,
            Self::Denied { .. } => StateName::Denied,
            Self::Expired { .. } => StateName::Expired,
            Self::Cancelled { .. } => StateName::Cancelled,
        }
    }

    /// Settled and absorbing.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Pending { .. } | Self::Permitted { .. } | Self::Dispatched { .. } => false,
            Self::Completed { .. }
            | Self::Failed { .. }
            | Self::Lost { .. }
            | Self::Denied { .. }
            | Self::Expired { .. }
            | Self::Cancelled { .. } => true,
        }
    }
}
