//! Sign-in: one-time links and sessions, both hashed at rest and tied to the reviewer's credential.

use std::time::Duration;

use super::{
    ATTEMPTS, Access, Identity, IdentityError, SignedIn,
    agents::busy,
    is_conflict,
    rows::{self, LinkRow, SessionRow},
    token::{self, TokenKind},
};
use crate::{
    call::{Person, Timestamp},
    ledger::ReviewerEvent,
    store::{Put, StoreError},
};

/// A session that nobody uses for this long is over.
pub const IDLE: Duration = Duration::from_secs(12 * 3600);
/// However much it is used, a session is over after this.
pub const ABSOLUTE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a one-time link may be spent.
pub const LINK_TTL: Duration = Duration::from_secs(15 * 60);
/// A session's last use is written at most this often.
const TOUCH: Duration = Duration::from_secs(60);

/// Where a one-time link leads; a page there asks before it spends.
pub(super) fn link_path(token: &str) -> String {
    format!("/login/{token}")
}

impl Identity {
    /// A one-time sign-in link's path for an existing reviewer (used by `demo`, `open`).
    ///
    /// # Errors
    /// `Unknown`, or the store's.
    pub async fn sign_in_link(
        &self,
        reviewer: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<String, IdentityError> {
        let directory = self.directory();
        let person = directory
            .people
            .named(reviewer)
            .ok_or_else(|| IdentityError::Unknown(format!("reviewer {reviewer}")))?;
        let secret = token::fresh(TokenKind::Link);
        let row = LinkRow {
            reviewer: reviewer.to_owned(),
            credential: person.token.clone(),
            expires_at: now.plus(ttl),
        };
        self.store.put(vec![rows::put(rows::LINKS, token::key(&secret.hash), &row)?]).await?;
        Ok(link_path(&secret.text))
    }

    /// Spends a link; the new session's cookie value. Of several who try at once, one succeeds: the
    /// link is deleted in the same append, at the same version, that says who signed in.
    ///
    /// # Errors
    /// The store's. A link that is unknown, spent or too old is `None`.
    pub async fn spend_link(&self, token: &str, now: Timestamp) -> Result<Option<SignedIn>, IdentityError> {
        let key = token::key(&token::hash(token));
        let configured = self.writing.lock().await;
        for _ in 0..ATTEMPTS {
            let Some(link) = rows::get::<LinkRow>(&*self.store, rows::LINKS, &key).await? else {
                return Ok(None);
            };
            if now >= link.expires_at {
                self.store.put(vec![rows::delete(rows::LINKS, key)]).await?;
                return Ok(None);
            }
            let Some(person) = self.present(&link.reviewer, &link.credential) else { return Ok(None) };
            let spent = vec![rows::delete(rows::LINKS, key.clone())];
            match self.begin(person, spent, now, *configured).await {
                Err(error) if is_conflict(&error) => {}
                done => return done.map(Some),
            }
        }
        Err(busy())
    }

    /// A session for a reviewer token.
    ///
    /// # Errors
    /// The store's. A token that is no reviewer's is `None`.
    pub async fn sign_in(&self, bearer: &str, now: Timestamp) -> Result<Option<SignedIn>, IdentityError> {
        let configured = self.writing.lock().await;
        for _ in 0..ATTEMPTS {
            let Some(person) = self.bearer(bearer) else { return Ok(None) };
            match self.begin(person, Vec::new(), now, *configured).await {
                Err(error) if is_conflict(&error) => {}
                done => return done.map(Some),
            }
        }
        Err(busy())
    }

    /// Ends a session; unknown ones are already over.
    ///
    /// # Errors
    /// The store's.
    pub async fn sign_out(&self, session: &str) -> Result<(), IdentityError> {
        let key = token::key(&token::hash(session));
        Ok(self.store.put(vec![rows::delete(rows::SESSIONS, key)]).await?)
    }

    /// The person behind a reviewer's bearer token or session cookie. Never a grant's token. A session
    /// counts as used.
    pub async fn person(&self, access: Access, secret: &str, now: Timestamp) -> Option<Person> {
        match access {
            Access::Token => self.bearer(secret),
            Access::Session => {
                let (key, row, person) = self.session(secret, now).await.ok()??;
                if now.since(row.seen) >= TOUCH {
                    self.touch(key, SessionRow { seen: now, ..row }).await;
                }
                Some(person)
            }
        }
    }

    /// As `person`, without using the session: for connections that look on.
    ///
    /// # Errors
    /// When the store cannot be read: nothing is known of the session then.
    pub async fn still(
        &self,
        access: Access,
        secret: &str,
        now: Timestamp,
    ) -> Result<Option<Person>, IdentityError> {
        match access {
            Access::Token => Ok(self.bearer(secret)),
            Access::Session => Ok(self.session(secret, now).await?.map(|(_, _, person)| person)),
        }
    }

    fn bearer(&self, token: &str) -> Option<Person> {
        let directory = self.directory.load();
        let name = directory.reviewers.get(&token::hash(token))?;
        directory.people.named(name).cloned()
    }

    /// The reviewer, if they still have the credential that they signed in with.
    fn present(&self, name: &str, credential: &str) -> Option<Person> {
        self.directory.load().people.named(name).filter(|person| person.token == credential).cloned()
    }

    async fn session(
        &self,
        secret: &str,
        now: Timestamp,
    ) -> Result<Option<(String, SessionRow, Person)>, StoreError> {
        if TokenKind::of(secret) != Some(TokenKind::Session) {
            return Ok(None);
        }
        let key = token::key(&token::hash(secret));
        let Some(row) = rows::get::<SessionRow>(&*self.store, rows::SESSIONS, &key).await? else {
            return Ok(None);
        };
        if now.since(row.seen) >= IDLE || now.since(row.since) >= ABSOLUTE {
            return Ok(None);
        }
        let Some(person) = self.present(&row.reviewer, &row.credential) else { return Ok(None) };
        let person = Person { token: row.id.clone(), ..person };
        Ok(Some((key, row, person)))
    }

    /// Writes a session's last use, unless it was ended meanwhile: a sign-out must not be undone.
    async fn touch(&self, key: String, row: SessionRow) {
        let _one_at_a_time = self.writing.lock().await;
        let there = self.store.get(rows::SESSIONS, key.clone()).await;
        if let (Ok(Some(_)), Ok(put)) = (there, rows::put(rows::SESSIONS, key, &row))
            && let Err(error) = self.store.put(vec![put]).await
        {
            tracing::warn!(%error, "the last use of a session could not be written");
        }
    }

    async fn begin(
        &self,
        person: Person,
        mut puts: Vec<Put>,
        now: Timestamp,
        configured: bool,
    ) -> Result<SignedIn, IdentityError> {
        let secret = token::fresh(TokenKind::Session);
        let row = SessionRow {
            reviewer: person.name.clone(),
            credential: person.token.clone(),
            id: secret.id.clone(),
            since: now,
            seen: now,
        };
        puts.push(rows::put(rows::SESSIONS, token::key(&secret.hash), &row)?);
        let event = ReviewerEvent::SignedIn { reviewer: person.name.clone(), token: secret.id.clone() };
        self.say(event, puts, now, configured).await?;
        Ok((Person { token: secret.id, ..person }, secret.text))
    }
}
