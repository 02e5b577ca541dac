//! The tokens of other servers, who may act for any user.

use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::credentials::{SecretHash, hash};
use crate::config::Secret;
use crate::model::ServiceToken;

/// `SERVICE_TOKENS`, by their hashes.
pub struct ServiceTokens(Vec<SecretHash>);

impl ServiceTokens {
    /// In the order of the setting, which numbers them from 1.
    pub fn new(tokens: &[Secret]) -> Self {
        let hashes = tokens.iter().map(|token| hash(token.expose().as_bytes()));
        Self(hashes.collect())
    }

    /// Which of them this is. In constant time: all are compared, each to its end.
    pub fn find(&self, given: &str) -> Option<ServiceToken> {
        let given = hash(given.as_bytes());
        // 0: none of them.
        let mut found = 0;
        for (number, token) in (1..).zip(&self.0) {
            found.conditional_assign(&number, token.ct_eq(&given));
        }
        (found > 0).then_some(ServiceToken(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [&str; 3] = ["one", "another", "the last"];

    fn tokens() -> ServiceTokens {
        ServiceTokens::new(&TOKENS.map(|token| Secret::new(token.to_owned())))
    }

    impl ServiceTokens {
        fn contain(&self, given: &str) -> bool {
            self.find(given).is_some()
        }
    }

    #[test]
    fn each_token_is_told_from_the_others() {
        let found = TOKENS.map(|token| tokens().find(token));
        assert_eq!(found, [1, 2, 3].map(|number| Some(ServiceToken(number))));
    }

    #[test]
    fn each_token_counts_and_no_part_of_one() {
        for token in TOKENS {
            assert!(tokens().contain(token), "{token}");
            for part in [
                &token[1..],
                &token[..token.len() - 1],
                &token.to_uppercase(),
            ] {
                assert!(!tokens().contain(part), "{part}");
            }
            assert!(!tokens().contain(&format!("{token} ")));
        }
        assert!(!tokens().contain(""));
        assert!(!ServiceTokens::new(&[]).contain(""));
    }

    /// Such texts are found within a few hundred tries: the whole of a hash is compared, or they would pass.
    #[test]
    fn a_text_whose_hash_begins_or_ends_like_a_tokens_is_none() {
        for token in TOKENS {
            let wanted = hash(token.as_bytes());
            for place in [0, wanted.len() - 1] {
                let alike = (0..)
                    .map(|number| format!("guess {number}"))
                    .find(|guess| hash(guess.as_bytes())[place] == wanted[place]);
                assert!(!tokens().contain(&alike.unwrap()));
            }
        }
    }
}
