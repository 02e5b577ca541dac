//! Who sent a request, and for whom they may act.

use std::str::FromStr;

use crate::error::{Denial, Error, Resource};
use crate::limits::Holder;
use crate::model::{Reader, ServiceToken, UnixSeconds, UserId};

/// The token's user, where a request would name an id of theirs.
pub const ME: &str = "me";

/// A user whom a request names, and for whom it is not known yet whether the caller may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedUser(pub(super) UserId);

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
pub struct Caller(pub(super) Kind);

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
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

    /// Whether the caller may list and search users, which a user may only where `to_users` is set (`USER_DIRECTORY`).
    pub fn lists_users(&self, to_users: bool) -> bool {
        to_users || self.own_user().is_none()
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

    /// The user by whose eyes a conversation is read: the one whom the request names, if the caller may act for them
    /// ([`Error::Forbidden`] if not); if it names nobody, the token's user; without one, anyone who knows the id.
    pub fn reader(&self, named: Option<NamedUser>) -> Result<Reader, Error> {
        match named.or(self.own_user()) {
            Some(named) => Ok(Reader::Participant(self.act_for(named)?)),
            None => Ok(Reader::Anyone),
        }
    }

    /// The holder whose share of the budget large answers take: the caller. A gateway has no share, so it is the user or conversation that it
    /// asks for.
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn large_answers_are_the_callers_and_a_gateways_are_those_of_whom_it_asks_for() {
        let [own, named] = [1, 2].map(|number| UserId(Uuid::from_u128(number)));
        let service = ServiceToken(2);
        let user = Kind::User {
            user: own,
            until: None,
        };
        let holder = |kind| Caller(kind).holder(Holder::User(named));
        assert_eq!(holder(user), Holder::User(own));
        assert_eq!(holder(Kind::Service(service)), Holder::Service(service));
        assert_eq!(holder(Kind::Trusted), Holder::User(named));
    }
}
