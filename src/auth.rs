//! Who calls, and who may do what. Handlers get a [`Caller`] here and from nowhere else, and a user's id out of a
//! request is a [`NamedUser`], which becomes a [`UserId`] only by asking the caller: a handler that forgets
//! to ask does not compile.
//!
//! In reading order: [`caller`] is who it may be; [`credentials`] finds what a request carries; [`token`] verifies it by the [`keys`]
//! ([`crypto`] does the arithmetic), unless it is one of the [`service`] tokens; [`user_check`] knows who is deactivated. Tokens and tickets never get into a log.

mod caller;
mod credentials;
mod crypto;
mod keys;
mod service;
mod token;
mod user_check;

use std::sync::Arc;
use std::time::Duration;

use warp::http::HeaderMap;

use caller::Kind;
use credentials::Ticket;
use keys::KeyFiles;
use service::ServiceTokens;
use token::{Token, Verifier};
use user_check::UserCheck;

pub use caller::{Caller, ME, NamedUser, Validity};
pub use token::mint;

use crate::config::{AuthConfig, AuthMode, ConfigError};
use crate::error::{Credentials, Error};
use crate::hub::Hub;
use crate::model::{RawJson, UnixSeconds, UserId};
use crate::store::Store;

/// What a handshake presents, judged as far as that needs no database.
pub enum Presented {
    Caller(Caller),
    Ticket(Ticket),
}

/// What tokens are verified by: made before anything starts, so that what is wrong with a key file ends the start. `None` in trusted mode,
/// which looks at no token.
pub struct Keys(Option<Box<LoadedKeys>>);

struct LoadedKeys {
    verifier: Verifier,
    /// As they were then.
    files: KeyFiles,
}

impl Keys {
    /// The error names the variable; the second part are warnings.
    pub fn load(config: &AuthConfig) -> Result<(Self, Vec<String>), ConfigError> {
        if config.mode == AuthMode::Trusted {
            return Ok((Self(None), Vec::new()));
        }
        let files = KeyFiles::read(config)?;
        let (verifier, warnings) = Verifier::new(config, &files)?;
        let keys = Box::new(LoadedKeys { verifier, files });
        Ok((Self(Some(keys)), warnings))
    }
}

/// Tells who calls; clones share everything.
#[derive(Clone)]
pub struct Auth {
    shared: Arc<Shared>,
}

struct Shared {
    mode: Mode,
    config: AuthConfig,
    store: Store,
}

/// Tickets are good in both modes.
enum Mode {
    /// Callers are believed.
    Trusted,
    Jwt(Box<Jwt>),
}

/// What callers are checked against.
struct Jwt {
    keys: Box<LoadedKeys>,
    service_tokens: ServiceTokens,
    user_check: UserCheck,
}

impl Auth {
    /// `keys`: those of this `config`. They decide the mode.
    pub fn new(config: &AuthConfig, keys: Keys, store: Store) -> Self {
        let mode = match keys.0 {
            None => Mode::Trusted,
            Some(keys) => Mode::Jwt(Box::new(Jwt {
                keys,
                service_tokens: ServiceTokens::new(&config.service_tokens),
                user_check: UserCheck::new(store.clone(), config.user_check),
            })),
        };
        Self {
            shared: Arc::new(Shared {
                mode,
                config: config.clone(),
                store,
            }),
        }
    }

    /// Whether the key files are good, or there are none. While they are not, the former keys are in use.
    pub fn key_files_are_usable(&self) -> bool {
        match &self.shared.mode {
            Mode::Trusted => true,
            Mode::Jwt(jwt) => jwt.keys.verifier.files_usable(),
        }
    }

    /// Who sent an HTTP request. `Unauthorized` without good credentials, `Forbidden` for a deactivated user,
    /// `NotFound` for one who does not exist.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        match &self.shared.mode {
            Mode::Trusted => Ok(Caller(Kind::Trusted)),
            Mode::Jwt(jwt) => {
                let bearer = credentials::bearer(headers)?;
                let bearer = bearer.ok_or(Error::Unauthorized(Credentials::Missing))?;
                jwt.admit(self.bearer(jwt, bearer)?).await
            }
        }
    }

    /// By what a socket is to be opened. A token goes into one place only (RFC 6750 section 2).
    pub fn presented(&self, headers: &HeaderMap, ticket: Option<&str>) -> Result<Presented, Error> {
        let jwt = match (&self.shared.mode, ticket) {
            // What a gateway passes on in headers is its own affair.
            (Mode::Trusted, None) => return Ok(Presented::Caller(Caller(Kind::Trusted))),
            (Mode::Trusted, Some(ticket)) => return presented_ticket(ticket),
            (Mode::Jwt(jwt), _) => jwt,
        };
        let bearer = credentials::bearer(headers)?;
        let subprotocol = credentials::subprotocol_token(headers)?;
        match (bearer, subprotocol, ticket) {
            (None, None, None) => Err(Error::Unauthorized(Credentials::Missing)),
            (Some(bearer), None, None) => Ok(Presented::Caller(self.bearer(jwt, bearer)?)),
            (None, Some(token), None) => Ok(Presented::Caller(self.user(jwt, token)?)),
            (None, None, Some(ticket)) => presented_ticket(ticket),
            _ => Err(Error::invalid(
                "give a token or a ticket, and only one of them",
            )),
        }
    }

    /// Who opens a socket, as the database knows them. A ticket is used up by this.
    pub async fn socket(&self, presented: Presented) -> Result<Caller, Error> {
        let caller = match presented {
            Presented::Caller(caller) => caller,
            Presented::Ticket(ticket) => self.redeem(&ticket).await?,
        };
        match &self.shared.mode {
            Mode::Trusted => Ok(caller),
            Mode::Jwt(jwt) => jwt.admit(caller).await,
        }
    }

    /// Believes for a while that a user is active, without asking the database: for the fuzzer, which has none.
    #[cfg(any(test, fuzzing))]
    pub fn believe_active(&self, user: UserId) {
        if let Mode::Jwt(jwt) = &self.shared.mode {
            jwt.user_check.remember(&[(user, true)]);
        }
    }

    /// The caller of a live socket with a new token, which must be its user's. Trusted mode looks at no token.
    pub fn renewed(&self, present: Caller, user: UserId, token: &str) -> Result<Caller, Error> {
        match &self.shared.mode {
            Mode::Trusted => Ok(present),
            Mode::Jwt(jwt) => {
                let caller = self.user(jwt, token)?;
                caller.act_for(NamedUser(user))?;
                Ok(caller)
            }
        }
    }

    /// `NotFound` when there is no such user; in jwt mode `Forbidden` when they are deactivated, whoever acts for them.
    pub async fn require_connectable(&self, user: UserId) -> Result<(), Error> {
        match &self.shared.mode {
            Mode::Trusted => self.shared.store.require_user(user).await,
            Mode::Jwt(jwt) => jwt.user_check.require_active(user).await,
        }
    }

    /// A ticket for one socket of `user`, for whom the caller may act, and when it expires, as JSON. `NotFound` when there is no such user.
    pub async fn issue_ticket(
        &self,
        caller: &Caller,
        user: UserId,
    ) -> Result<(String, RawJson), Error> {
        let ticket = Ticket::random();
        let token_expires = caller.valid_until().map(|until| until.expires);
        let ttl = self.shared.config.ticket_ttl;
        let store = &self.shared.store;
        let expires_at = store
            .create_ticket(&ticket.hash(), user, token_expires, ttl)
            .await?;
        Ok((ticket.expose(), expires_at))
    }

    /// For as long as it is polled: takes changed key files, removes tickets that were never used, and in jwt mode ends the
    /// sockets of users who are not active any more.
    pub async fn watch(self, hub: Hub) {
        tokio::select! {
            () = self.follow_files() => {}
            () = self.check(&hub) => {}
        }
    }

    async fn follow_files(&self) {
        match &self.shared.mode {
            Mode::Trusted => std::future::pending().await,
            Mode::Jwt(jwt) => {
                let LoadedKeys { verifier, files } = &*jwt.keys;
                let config = &self.shared.config;
                verifier.follow_files(config, files.clone()).await;
            }
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
            if let Mode::Jwt(jwt) = &self.shared.mode
                && let Err(error) = jwt.user_check.dismiss_inactive(hub).await
            {
                log::warn!(
                    "could not check which connected users are deactivated: {}",
                    error.with_cause()
                );
            }
        }
    }

    fn bearer(&self, jwt: &Jwt, bearer: &str) -> Result<Caller, Error> {
        match jwt.service_tokens.find(bearer) {
            Some(token) => Ok(Caller(Kind::Service(token))),
            None => self.user(jwt, bearer),
        }
    }

    fn user(&self, jwt: &Jwt, token: &str) -> Result<Caller, Error> {
        let Token { user, expires } = jwt.keys.verifier.verify(token)?;
        Ok(Caller(Kind::User {
            user,
            until: Some(self.validity(expires)?),
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
}

impl Jwt {
    /// A user who calls must be active. (Trusted mode leaves that to the gateway.)
    async fn admit(&self, caller: Caller) -> Result<Caller, Error> {
        if let Kind::User { user, .. } = caller.0 {
            self.user_check.require_active(user).await?;
        }
        Ok(caller)
    }
}

fn presented_ticket(text: &str) -> Result<Presented, Error> {
    let ticket = text.parse().map_err(|()| ticket_invalid())?;
    Ok(Presented::Ticket(ticket))
}

fn ticket_invalid() -> Error {
    Error::Unauthorized(Credentials::TicketInvalid)
}

#[cfg(test)]
mod tests;
