//! Who calls, and who may do what. Handlers get a [`Caller`] here and from nowhere else, and a user's id out of a
//! request is a [`NamedUser`], which becomes a [`UserId`] only by asking the caller: a handler that forgets
//! to ask does not compile.
//!
//! In reading order: [`credentials`] finds what a request carries; [`token`] verifies it by the [`keys`]
//! ([`crypto`] does the arithmetic), unless it is one of the [`service`] tokens; [`user_check`] knows who is deactivated. Tokens and tickets never get into a log.

mod credentials;
mod crypto;
mod keys;
mod service;
mod token;
mod user_check;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use warp::http::HeaderMap;

use credentials::Ticket;
use keys::KeyFiles;
use service::ServiceTokens;
use token::{Token, Verifier};
use user_check::UserCheck;

pub use token::mint;

use crate::config::{AuthConfig, AuthMode, ConfigError};
use crate::error::{Denial, Error, ErrorCode, Resource};
use crate::hub::Hub;
use crate::limits::Holder;
use crate::model::{Reader, ServiceToken, UnixSeconds, UserId};
use crate::store::{IssuedTicket, Store};

/// The token's user, where a request would name an id of theirs.
pub const ME: &str = "me";

/// A user whom a request names, and for whom it is not known yet whether the caller may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedUser(UserId);

impl NamedUser {
    /// The id, for the users' directory: whoever may call may look anybody up there.
    pub fn in_directory(self) -> UserId {
        self.0
    }

    /// The id, of somebody with whom the user whom the caller acts for may have a conversation.
    pub fn as_the_other(self) -> UserId {
        self.0
    }
}

impl FromStr for NamedUser {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(|id| Self(UserId(id)))
    }
}

/// Whoever sent a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A gateway in front, which has checked the user already.
    Trusted,
    /// Another server, by this service token.
    Service(ServiceToken),
    /// A user, by a token or a ticket.
    User {
        user: UserId,
        /// `None`: a ticket that was not made by a token.
        until: Option<Validity>,
    },
}

/// How long a user's token goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its `exp`.
    pub expires: UnixSeconds,
    /// From then on it is refused: `exp` and the leeway.
    pub ends: UnixSeconds,
}

impl Caller {
    /// A caller of trusted mode, for tests that need no other.
    #[cfg(any(test, fuzzing))]
    pub fn trusted() -> Self {
        Self(Kind::Trusted)
    }

    /// The caller's own user, for whom it acts where the request names none.
    pub fn own_user(&self) -> Option<NamedUser> {
        match self.0 {
            Kind::User { user, .. } => Some(NamedUser(user)),
            Kind::Trusted | Kind::Service(_) => None,
        }
    }

    /// The user whom the request names, if the caller may act for them: be the sender, the reader, or the owner of a
    /// list. [`Error::Forbidden`] if not.
    pub fn act_for(&self, named: NamedUser) -> Result<UserId, Error> {
        match self.0 {
            Kind::User { user, .. } if user != named.0 => {
                Err(Error::Forbidden(Denial::UserMismatch))
            }
            _ => Ok(named.0),
        }
    }

    /// The first of two users for whom the caller may act, and both of them; opening a conversation takes no more.
    pub fn act_for_either(
        &self,
        one: NamedUser,
        other: NamedUser,
    ) -> Result<(UserId, [UserId; 2]), Error> {
        let acting = self.act_for(one).or_else(|_| self.act_for(other))?;
        Ok((acting, [one.0, other.0]))
    }

    /// Whose eyes see a conversation: those of the user whom the request names, if the caller may act for them
    /// ([`Error::Forbidden`] if not); where it names nobody, those of the token's user, or of whoever knows the id.
    pub fn reader(&self, named: Option<NamedUser>) -> Result<Reader, Error> {
        match named.or(self.own_user()) {
            Some(named) => Ok(Reader::Participant(self.act_for(named)?)),
            None => Ok(Reader::Anyone),
        }
    }

    /// Whose share of the budget large answers take: the caller's own. A gateway has none, so it is that of whom or what it asks for.
    pub fn holder(&self, asked_for: Holder) -> Holder {
        match self.0 {
            Kind::User { user, .. } => Holder::User(user),
            Kind::Service(token) => Holder::Service(token),
            Kind::Trusted => asked_for,
        }
    }

    /// What the caller may hear of an error. A user does not learn whether a conversation or a message exists in which
    /// they have no part: the answer is the same, to the letter.
    pub fn concealed(&self, error: Error) -> Error {
        let tells = match &error {
            Error::NotFound { what, .. } => {
                matches!(what, Resource::Conversation | Resource::Message)
            }
            Error::Forbidden(denial) => *denial == Denial::NotAParticipant,
            _ => false,
        };
        match self.0 {
            Kind::User { .. } if tells => Error::Forbidden(Denial::Concealed),
            _ => error,
        }
    }

    /// `None`: for ever.
    pub fn valid_until(&self) -> Option<Validity> {
        match self.0 {
            Kind::User { until, .. } => until,
            Kind::Trusted | Kind::Service(_) => None,
        }
    }
}

/// What a handshake presents, judged as far as that needs no database.
pub enum Presented {
    Caller(Caller),
    Ticket(Ticket),
}

/// Key files, read and found good: made before anything starts, so that what is wrong with one ends the start.
#[derive(Clone)]
pub struct Keys {
    verifier: Verifier,
    files: KeyFiles,
}

impl Keys {
    /// The error names the variable; the second part are warnings.
    pub fn load(config: &AuthConfig) -> Result<(Self, Vec<String>), ConfigError> {
        let files = match config.mode {
            AuthMode::Trusted => KeyFiles::default(),
            AuthMode::Jwt => KeyFiles::read(config)?,
        };
        let (verifier, warnings) = Verifier::new(config, &files)?;
        Ok((Self { verifier, files }, warnings))
    }
}

/// Tells who calls; clones share everything.
#[derive(Clone)]
pub struct Auth {
    shared: Arc<Shared>,
}

struct Shared {
    config: AuthConfig,
    keys: Keys,
    service_tokens: ServiceTokens,
    user_check: UserCheck,
    store: Store,
}

impl Auth {
    pub fn new(config: &AuthConfig, keys: Keys, store: Store) -> Self {
        Self {
            shared: Arc::new(Shared {
                service_tokens: ServiceTokens::new(&config.service_tokens),
                user_check: UserCheck::new(store.clone(), config.user_check),
                config: config.clone(),
                keys,
                store,
            }),
        }
    }

    /// Whether the key files are good, or there are none. While they are not, the former keys are in use.
    pub fn key_files_are_usable(&self) -> bool {
        self.shared.keys.verifier.files_usable()
    }

    /// Who sent an HTTP request. `Unauthorized` without good credentials, `Forbidden` for a deactivated user,
    /// `NotFound` for one who does not exist.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let caller = match self.shared.config.mode {
            AuthMode::Trusted => Caller(Kind::Trusted),
            AuthMode::Jwt => {
                let bearer =
                    credentials::bearer(headers)?.ok_or_else(Error::credentials_required)?;
                self.bearer(bearer)?
            }
        };
        self.admit(caller).await
    }

    /// By what a socket is to be opened. A token goes into one place only (RFC 6750 section 2).
    pub fn presented(&self, headers: &HeaderMap, ticket: Option<&str>) -> Result<Presented, Error> {
        let (bearer, subprotocol) = match self.shared.config.mode {
            // What a gateway passes on is its own affair.
            AuthMode::Trusted => (None, None),
            AuthMode::Jwt => (
                credentials::bearer(headers)?,
                credentials::subprotocol_token(headers)?,
            ),
        };
        let caller = match (bearer, subprotocol, ticket) {
            (None, None, None) if self.shared.config.mode == AuthMode::Trusted => {
                Caller(Kind::Trusted)
            }
            (None, None, None) => return Err(Error::credentials_required()),
            (Some(bearer), None, None) => self.bearer(bearer)?,
            (None, Some(token), None) => self.user(self.shared.keys.verifier.verify(token)?)?,
            (None, None, Some(ticket)) => {
                let ticket = ticket.parse().map_err(|()| ticket_invalid())?;
                return Ok(Presented::Ticket(ticket));
            }
            _ => {
                return Err(Error::invalid(
                    "give a token or a ticket, and only one of them",
                ));
            }
        };
        Ok(Presented::Caller(caller))
    }

    /// Who opens a socket, as the database knows them. A ticket is used up by this.
    pub async fn socket(&self, presented: Presented) -> Result<Caller, Error> {
        let caller = match presented {
            Presented::Caller(caller) => caller,
            Presented::Ticket(ticket) => self.redeem(&ticket).await?,
        };
        self.admit(caller).await
    }

    /// Believes for a while that a user is active, without asking the database: for the fuzzer, which has none.
    #[cfg(any(test, fuzzing))]
    pub fn believe_active(&self, user: UserId) {
        self.shared.user_check.remember(&[(user, true)]);
    }

    /// The caller of a live socket with a new token, which must be its user's. Trusted mode looks at no token.
    pub fn renewed(&self, present: Caller, user: UserId, token: &str) -> Result<Caller, Error> {
        if self.shared.config.mode == AuthMode::Trusted {
            return Ok(present);
        }
        let caller = self.user(self.shared.keys.verifier.verify(token)?)?;
        caller.act_for(NamedUser(user))?;
        Ok(caller)
    }

    /// `NotFound` when there is no such user; in jwt mode `Forbidden` when they are deactivated, whoever acts for them.
    pub async fn require_connectable(&self, user: UserId) -> Result<(), Error> {
        match self.shared.config.mode {
            AuthMode::Trusted => self.shared.store.require_user(user).await,
            AuthMode::Jwt => self.shared.user_check.require_active(user).await,
        }
    }

    /// A ticket for one socket of `user`, for whom the caller may act. `NotFound` when there is no such user.
    pub async fn issue_ticket(
        &self,
        caller: &Caller,
        user: UserId,
    ) -> Result<(String, IssuedTicket), Error> {
        let ticket = Ticket::random();
        let token_expires = caller.valid_until().map(|until| until.expires);
        let ttl = self.shared.config.ticket_ttl;
        let store = &self.shared.store;
        let issued = store
            .create_ticket(&ticket.hash(), user, token_expires, ttl)
            .await?;
        Ok((ticket.expose(), issued))
    }

    /// Until `stop`: takes changed key files, removes tickets that were never used, and in jwt mode ends the
    /// sockets of users who are not active any more.
    pub async fn watch(self, hub: Hub, stop: CancellationToken) {
        let Keys { verifier, files } = self.shared.keys.clone();
        let follow = verifier.follow_files(self.shared.config.clone(), files);
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
            () = self.check(&hub) => {}
        }
    }

    async fn check(&self, hub: &Hub) {
        loop {
            tokio::time::sleep(self.shared.config.user_check).await;
            if let Err(error) = self.shared.store.sweep_tickets().await {
                log::warn!(
                    "expired tickets were not removed, and wait for the next sweep: {}",
                    error.with_cause()
                );
            }
            if self.shared.config.mode == AuthMode::Jwt
                && let Err(error) = self.shared.user_check.dismiss_inactive(hub).await
            {
                log::warn!(
                    "could not check which connected users are deactivated: {}",
                    error.with_cause()
                );
            }
        }
    }

    fn bearer(&self, bearer: &str) -> Result<Caller, Error> {
        if let Some(token) = self.shared.service_tokens.find(bearer) {
            return Ok(Caller(Kind::Service(token)));
        }
        self.user(self.shared.keys.verifier.verify(bearer)?)
    }

    fn user(&self, token: Token) -> Result<Caller, Error> {
        Ok(Caller(Kind::User {
            user: token.user,
            until: Some(self.validity(token.expires)?),
        }))
    }

    async fn redeem(&self, ticket: &Ticket) -> Result<Caller, Error> {
        let redeemed = self.shared.store.redeem_ticket(&ticket.hash()).await?;
        let redeemed = redeemed.ok_or_else(ticket_invalid)?;
        let until = redeemed.token_expires.map(|at| self.validity(at));
        let until = until.transpose()?;
        Ok(Caller(Kind::User {
            user: redeemed.user,
            until,
        }))
    }

    /// `Unauthorized` for a token that is over: from that second on, not after it (RFC 7519 section 4.1.4).
    fn validity(&self, expires: UnixSeconds) -> Result<Validity, Error> {
        let leeway: Duration = self.shared.config.jwt_leeway;
        let ends = UnixSeconds(expires.0.saturating_add_unsigned(leeway.as_secs()));
        match ends > UnixSeconds::now() {
            true => Ok(Validity { expires, ends }),
            false => Err(token::expired()),
        }
    }

    /// In jwt mode a user who calls must be active. Trusted mode leaves that to the gateway.
    async fn admit(&self, caller: Caller) -> Result<Caller, Error> {
        if let (AuthMode::Jwt, Kind::User { user, .. }) = (self.shared.config.mode, caller.0) {
            self.shared.user_check.require_active(user).await?;
        }
        Ok(caller)
    }
}

fn ticket_invalid() -> Error {
    Error::Unauthorized {
        code: ErrorCode::TicketInvalid,
        message: "the ticket is not valid, or was used before, or has expired".to_owned(),
    }
}

#[cfg(test)]
mod tests;
