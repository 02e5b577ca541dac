//! Whether a token is good, and whom it names.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde_json::{Map, Value, json};

use super::crypto;
use super::keys::{KeyFiles, KeySet};
use crate::config::{AuthConfig, ConfigError};
use crate::error::{Credentials, Error};
use crate::model::{UnixSeconds, UserId};
use crate::sync;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::HS256,
    Algorithm::RS256,
    Algorithm::ES256,
    Algorithm::EdDSA,
];

/// Longest token: as long as the longest head that `MAX_HEADER_BYTES` allows. A frame may be far longer, and all of it would
/// be hashed for each of the keys.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Between two looks at the key files. No setting: to read two small files costs next to nothing, and whoever rotates a key waits for it.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// A token that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub user: UserId,
    /// Its `exp`.
    pub expires: UnixSeconds,
}

/// Verifies tokens by the present keys.
pub struct Verifier {
    /// A std lock: held to clone the `Arc` only.
    keys: RwLock<Arc<KeySet>>,
    /// Whether the key files were good when they were last read.
    files_usable: AtomicBool,
    validations: [Validation; 4],
    user_claim: String,
}

impl Verifier {
    /// The second part are warnings about the keys.
    pub fn new(config: &AuthConfig, files: &KeyFiles) -> Result<(Self, Vec<String>), ConfigError> {
        crypto::install();
        let (keys, warnings) = KeySet::new(config, files)?;
        let verifier = Self {
            keys: RwLock::new(Arc::new(keys)),
            files_usable: AtomicBool::new(true),
            validations: ALGORITHMS.map(|algorithm| validation(config, algorithm)),
            user_claim: config.jwt_user_claim.clone(),
        };
        Ok((verifier, warnings))
    }

    /// Checks signature and claims. The error says what is wrong, and holds nothing of the token.
    pub fn verify(&self, token: &str) -> Result<Token, Error> {
        if token.len() > MAX_TOKEN_BYTES {
            let problem = format!("it is longer than {MAX_TOKEN_BYTES} bytes");
            return Err(invalid(problem));
        }
        let header = decode_header(token).map_err(|e| refusal(e.kind()))?;
        // Extensions that must be understood: none is (RFC 7515 section 4.1.11).
        if header.crit.is_some() {
            return Err(invalid("it has critical header parameters"));
        }
        let keys = self.keys();
        let validation = self
            .validations
            .iter()
            .find(|validation| validation.algorithms[0] == header.alg)
            .filter(|_| keys.takes(header.alg))
            .ok_or_else(|| invalid("its algorithm is not accepted here"))?;
        let mut refused = invalid("its key (kid) is not known here");
        for key in keys.fitting(header.alg, header.kid.as_deref()) {
            match decode::<Map<String, Value>>(token, key, validation) {
                Ok(token) => return self.token(&token.claims),
                Err(error) => {
                    refused = refusal(error.kind());
                    // With the right key, another one has nothing to add.
                    if !matches!(error.kind(), ErrorKind::InvalidSignature) {
                        break;
                    }
                }
            }
        }
        Err(refused)
    }

    fn token(&self, claims: &Map<String, Value>) -> Result<Token, Error> {
        let user = claims
            .get(&self.user_claim)
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid(format!("its claim {:?} must be a UUID", self.user_claim)))?;
        let expires = claims
            .get("exp")
            .and_then(Value::as_f64)
            .and_then(UnixSeconds::from_f64)
            .ok_or_else(|| invalid("its claim \"exp\" is not a time"))?;
        Ok(Token {
            user: UserId(user),
            expires,
        })
    }

    /// Whether a replica that started now would find good key files, or needs none.
    pub fn files_usable(&self) -> bool {
        self.files_usable.load(Ordering::Relaxed)
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&sync::read(&self.keys))
    }

    /// Takes the key files again whenever they have changed, for ever, so that a key can be rotated without a restart. Files that are not good leave the keys as
    /// they were: a file may be half written.
    pub async fn follow_files(&self, config: &AuthConfig, mut seen: KeyFiles) {
        if config.jwt_public_key_file.is_none() && config.jwt_jwks_file.is_none() {
            return std::future::pending().await;
        }
        let mut told = String::new();
        loop {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            let of_task = config.clone();
            // On a thread for such things: a file on a network may hang.
            let read = tokio::task::spawn_blocking(move || KeyFiles::read(&of_task)).await;
            let taken = match read {
                Ok(Ok(files)) if files == seen => {
                    self.files_usable.store(true, Ordering::Relaxed);
                    told.clear();
                    continue;
                }
                Ok(Ok(files)) => KeySet::new(config, &files).map(|made| (files, made)),
                Ok(Err(error)) => Err(error),
                // The thread was stopped: so is the process.
                Err(_) => continue,
            };
            self.files_usable.store(taken.is_ok(), Ordering::Relaxed);
            match taken {
                Ok((files, (keys, warnings))) => {
                    *sync::write(&self.keys) = Arc::new(keys);
                    seen = files;
                    told.clear();
                    warnings.iter().for_each(|warning| log::warn!("{warning}"));
                    log::info!("the key files have changed: tokens are verified by the new keys");
                }
                Err(error) => {
                    let problem = error.to_string();
                    if problem != told {
                        log::warn!("the keys stay as they were: {problem}");
                        told = problem;
                    }
                }
            }
        }
    }
}

fn validation(config: &AuthConfig, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = config.jwt_leeway.as_secs();
    validation.validate_nbf = true;
    let mut required = vec!["exp"];
    // A token with an audience is for somebody else only where it is said who we are.
    validation.validate_aud = config.jwt_audience.is_some();
    if let Some(audience) = &config.jwt_audience {
        validation.set_audience(&[audience]);
        required.push("aud");
    }
    if let Some(issuer) = &config.jwt_issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    validation
}

/// A token for `user` by the HS256 secret, with issuer and audience where they are set: for trying things out.
pub fn mint(config: &AuthConfig, user: UserId, ttl: Duration) -> Result<String, ConfigError> {
    let fault = |problem: String| ConfigError::of_setting("JWT_SECRET", problem);
    let secret = config
        .jwt_secret
        .as_ref()
        .ok_or_else(|| fault("must be set: tokens are signed with it".to_owned()))?;
    crypto::install();
    let now = UnixSeconds::now();
    let mut claims = json!({"iat": now.0, "exp": now.0.saturating_add_unsigned(ttl.as_secs())});
    claims[&config.jwt_user_claim] = json!(user);
    for (name, value) in [("iss", &config.jwt_issuer), ("aud", &config.jwt_audience)] {
        if let Some(value) = value {
            claims[name] = json!(value);
        }
    }
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|e| fault(e.to_string()))
}

fn refusal(kind: &ErrorKind) -> Error {
    match kind {
        ErrorKind::ExpiredSignature => expired(),
        ErrorKind::ImmatureSignature => invalid("it is not valid yet"),
        ErrorKind::InvalidSignature => invalid("its signature does not match"),
        ErrorKind::InvalidIssuer => invalid("it is from another issuer"),
        ErrorKind::InvalidAudience => invalid("it is for another audience"),
        // It tells of a claim of another type as well, such as a text for `exp`, that it is missing.
        ErrorKind::MissingRequiredClaim(claim) => invalid(format!(
            "its claim {claim:?} is missing, or of the wrong type"
        )),
        ErrorKind::InvalidClaimFormat(claim) => {
            invalid(format!("its claim {claim:?} is malformed"))
        }
        ErrorKind::InvalidAlgorithm => invalid("its algorithm is not accepted here"),
        _ => invalid("it is not a JWT with an accepted algorithm"),
    }
}

pub(super) fn expired() -> Error {
    Error::Unauthorized(Credentials::TokenExpired)
}

pub(super) fn invalid(why: impl std::fmt::Display) -> Error {
    Error::Unauthorized(Credentials::TokenInvalid(why.to_string()))
}

#[cfg(test)]
mod tests;
