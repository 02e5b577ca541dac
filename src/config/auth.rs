//! Who may call: `AUTH_MODE`, `JWT_*`, `SERVICE_TOKENS`.

use std::fmt;
use std::path::PathBuf;

use super::ConfigError;
use super::settings::{self, Setting};
use super::values::Values;

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Callers are believed: a gateway in front has checked them.
    Trusted,
    /// A signed token names the user.
    Jwt,
}

/// The settings of [`AuthMode::Jwt`]. In this version the mode is always [`AuthMode::Trusted`].
#[derive(Clone, Debug)]
pub struct AuthConfig {
    pub mode: AuthMode,
    /// `JWT_SECRET`: HS256.
    pub jwt_secret: Option<Secret>,
    /// `JWT_PUBLIC_KEY_FILE`: PEM for RS256, ES256 or EdDSA.
    pub jwt_public_key_file: Option<PathBuf>,
    /// `JWT_JWKS_FILE`: a JWKS document.
    pub jwt_jwks_file: Option<PathBuf>,
    /// `JWT_ISSUER`
    pub jwt_issuer: Option<String>,
    /// `JWT_AUDIENCE`
    pub jwt_audience: Option<String>,
    /// `JWT_USER_CLAIM`, `sub`.
    pub jwt_user_claim: String,
    /// `SERVICE_TOKENS`: server-to-server callers, who may act for any user.
    pub service_tokens: Vec<Secret>,
}

/// Text that is not shown: its `Debug` is a mask, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself; for checks and signatures only, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Settings that only somebody sets who wants callers to be checked.
const CHECKS: [&Setting; 7] = [
    &settings::JWT_SECRET,
    &settings::JWT_PUBLIC_KEY_FILE,
    &settings::JWT_JWKS_FILE,
    &settings::JWT_ISSUER,
    &settings::JWT_AUDIENCE,
    &settings::JWT_USER_CLAIM,
    &settings::SERVICE_TOKENS,
];

/// The settings, and warnings about those without effect.
///
/// A service that was told to check its callers and cannot must not start: without `AUTH_MODE=trusted`
/// in so many words, any of the settings of the other mode is an error.
pub(super) fn read(values: &Values) -> Result<(AuthConfig, Vec<String>), ConfigError> {
    const REFUSAL: &str = "not available in this version; put an authenticating gateway in front and use \
                           AUTH_MODE=trusted";
    let set: Vec<_> = CHECKS.iter().filter(|s| values.differs(s)).collect();
    if values.choice(&settings::AUTH_MODE)? != "trusted" {
        return Err(values.fault(&settings::AUTH_MODE, format!("jwt is {REFUSAL}")));
    }
    let mut warnings = Vec::new();
    if let Some(first) = set.first() {
        if !values.is_given(&settings::AUTH_MODE) {
            return Err(values.fault(first, format!("checking callers is {REFUSAL}")));
        }
        let names: Vec<_> = set.iter().map(|setting| setting.name).collect();
        warnings.push(format!(
            "AUTH_MODE=trusted believes every caller; no effect: {}",
            names.join(", ")
        ));
    }
    let path = |setting| values.given(setting).map(PathBuf::from);
    let tokens = values.text(&settings::SERVICE_TOKENS);
    let config = AuthConfig {
        mode: AuthMode::Trusted,
        jwt_secret: values.secret(&settings::JWT_SECRET),
        jwt_public_key_file: path(&settings::JWT_PUBLIC_KEY_FILE),
        jwt_jwks_file: path(&settings::JWT_JWKS_FILE),
        jwt_issuer: values.optional(&settings::JWT_ISSUER),
        jwt_audience: values.optional(&settings::JWT_AUDIENCE),
        jwt_user_claim: values.text(&settings::JWT_USER_CLAIM).to_owned(),
        service_tokens: tokens
            .split(',')
            .map(str::trim)
            .filter(|token| !token.is_empty())
            .map(|token| Secret::new(token.to_owned()))
            .collect(),
    };
    Ok((config, warnings))
}
