//! Reviewers: added and revoked, with everything that speaks for them.

use super::{
    ATTEMPTS, Identity, IdentityError, LINK_TTL, NewSecret,
    agents::busy,
    check_name, is_conflict,
    rows::{self, LinkRow, ReviewerRow, SessionRow},
    sessions::link_path,
    token::{self, TokenKind},
};
use crate::{
    call::{Person, Timestamp},
    ledger::{Fact, ReviewerEvent, Stream},
    store::Put,
};

impl Identity {
    /// A new reviewer, with a token and a one-time link to sign in.
    ///
    /// # Errors
    /// `Exists`, `Invalid` (name or group), or the store's.
    pub async fn add_reviewer(
        &self,
        person: Person,
        by: &str,
        now: Timestamp,
    ) -> Result<NewSecret, IdentityError> {
        check_name("a reviewer's name", &person.name)?;
        for group in &person.groups {
            check_name("a group", group)?;
        }
        let (secret, link) = (token::fresh(TokenKind::Reviewer), token::fresh(TokenKind::Link));
        let person = Person { token: secret.id.clone(), ..person };
        let name = person.name.clone();
        let row = ReviewerRow { hash: token::key(&secret.hash), person: person.clone() };
        let link_row =
            LinkRow { reviewer: name.clone(), credential: secret.id, expires_at: now.plus(LINK_TTL) };
        let puts = vec![
            rows::put(rows::REVIEWERS, name.clone(), &row)?,
            rows::put(rows::LINKS, token::key(&link.hash), &link_row)?,
        ];
        let event = ReviewerEvent::ReviewerAdded { person, by: by.to_owned() };
        let configured = self.writing.lock().await;
        for _ in 0..ATTEMPTS {
            if self.directory().people.named(&name).is_some() {
                return Err(IdentityError::Exists(format!(
                    "reviewer {name} is there already; choose another name, or revoke that one first"
                )));
            }
            match self.say(event.clone(), puts.clone(), now, *configured).await {
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    let link = Some(link_path(&link.text));
                    return Ok(NewSecret { name, token: secret.text, link });
                }
            }
        }
        Err(busy())
    }

    /// The reviewer's token, sessions and links are void when this returns.
    ///
    /// # Errors
    /// `Unknown`, or the store's.
    pub async fn revoke_reviewer(&self, name: &str, by: &str, now: Timestamp) -> Result<(), IdentityError> {
        let configured = self.writing.lock().await;
        for _ in 0..ATTEMPTS {
            if self.directory().people.named(name).is_none() {
                return Err(IdentityError::Unknown(format!("reviewer {name}")));
            }
            let puts = self.traces_of(name).await?;
            let event = ReviewerEvent::ReviewerRevoked { reviewer: name.to_owned(), by: by.to_owned() };
            match self.say(event, puts, now, *configured).await {
                Err(error) if is_conflict(&error) => {}
                done => return done,
            }
        }
        Err(busy())
    }

    /// Appends one event about a reviewer together with `puts`.
    pub(super) async fn say(
        &self,
        event: ReviewerEvent,
        puts: Vec<Put>,
        now: Timestamp,
        configured: bool,
    ) -> Result<(), IdentityError> {
        let reviewers = (Stream::Reviewers, self.directory.load().reviewers_version);
        self.commit(reviewers, vec![Fact::Reviewer(event)], puts, now, configured).await
    }

    /// Deletes whatever speaks for `name`.
    async fn traces_of(&self, name: &str) -> Result<Vec<Put>, IdentityError> {
        let sessions = rows::list::<SessionRow>(&*self.store, rows::SESSIONS).await?;
        let links = rows::list::<LinkRow>(&*self.store, rows::LINKS).await?;
        let sessions = sessions.into_iter().filter(|(_, row)| row.reviewer == name);
        let links = links.into_iter().filter(|(_, row)| row.reviewer == name);
        Ok(std::iter::once(rows::delete(rows::REVIEWERS, name))
            .chain(sessions.map(|(key, _)| rows::delete(rows::SESSIONS, key)))
            .chain(links.map(|(key, _)| rows::delete(rows::LINKS, key)))
            .collect())
    }
}
