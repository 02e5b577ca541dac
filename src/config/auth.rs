//! Who may call: `AUTH_MODE`, `JWT_*`, `SERVICE_TOKENS`, and times that belong to them.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::{self, Setting};
use super::values::Values;
use super::{AuthMode, ConfigError, Secret, TokenKeys};

/// The mode, and what [`AuthMode::Jwt`] needs; tickets are for both.
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
    /// `JWT_LEEWAY_SECONDS`, 0: how much clocks may differ.
    pub jwt_leeway: Duration,
    /// `SERVICE_TOKENS`: server-to-server callers, who may act for any user.
    pub service_tokens: Vec<Secret>,
    /// `TOKEN_WARNING_SECONDS`, 60: how long before its token's end a socket is told; where it has no more left than that, a quarter of what it has.
    pub token_warning: Duration,
    /// `TICKET_SECONDS`, 30.
    pub ticket_ttl: Duration,
    /// `USER_CHECK_SECONDS`, 10: how long it is believed that a user is active.
    pub user_check: Duration,
}

/// Any of these makes the mode [`AuthMode::Jwt`], unless `AUTH_MODE` says otherwise.
const KEYS: [&Setting; 4] = [
    &settings::JWT_SECRET,
    &settings::JWT_PUBLIC_KEY_FILE,
    &settings::JWT_JWKS_FILE,
    &settings::SERVICE_TOKENS,
];

/// Settings about tokens and their users, which mean nothing without a key.
const CHECKS: [&Setting; 5] = [
    &settings::JWT_ISSUER,
    &settings::JWT_AUDIENCE,
    &settings::JWT_USER_CLAIM,
    &settings::JWT_LEEWAY_SECONDS,
    &settings::USER_DIRECTORY,
];

/// Shorter secrets can be found by trying (RFC 7518 section 3.2: as long as the hash, 32 bytes).
const STRONG_SECRET_BYTES: usize = 32;

/// The mode alone, which also decides where to listen.
pub(super) fn mode(values: &Values) -> Result<AuthMode, ConfigError> {
    match values.is_given(&settings::AUTH_MODE) {
        true => values.choice(&settings::AUTH_MODE, AuthMode::named),
        false => Ok(default_mode(values)),
    }
}

/// `AUTH_MODE` where it is not set.
pub(super) fn default_mode(values: &Values) -> AuthMode {
    match KEYS.iter().any(|setting| values.is_given(setting)) {
        true => AuthMode::Jwt,
        false => AuthMode::Trusted,
    }
}

/// The settings, and warnings about those without effect.
pub(super) fn read(
    values: &Values,
    keys: TokenKeys,
) -> Result<(AuthConfig, Vec<String>), ConfigError> {
    let mode = mode(values)?;
    let warning = match keys {
        TokenKeys::Optional => None,
        TokenKeys::Required => check_keys(values, mode)?,
    };
    let mut warnings = Vec::from_iter(warning);
    let path = |setting| values.given(setting).map(PathBuf::from);
    let tokens = values.text(&settings::SERVICE_TOKENS);
    let config = AuthConfig {
        mode,
        jwt_secret: values.secret(&settings::JWT_SECRET),
        jwt_public_key_file: path(&settings::JWT_PUBLIC_KEY_FILE),
        jwt_jwks_file: path(&settings::JWT_JWKS_FILE),
        jwt_issuer: values.optional(&settings::JWT_ISSUER),
        jwt_audience: values.optional(&settings::JWT_AUDIENCE),
        jwt_user_claim: values.text(&settings::JWT_USER_CLAIM).to_owned(),
        jwt_leeway: values.seconds(&settings::JWT_LEEWAY_SECONDS)?,
        service_tokens: tokens
            .split(',')
            .map(str::trim)
            .filter(|token| !token.is_empty())
            .map(|token| Secret::new(token.to_owned()))
            .collect(),
        token_warning: values.seconds(&settings::TOKEN_WARNING_SECONDS)?,
        ticket_ttl: values.seconds(&settings::TICKET_SECONDS)?,
        user_check: values.seconds(&settings::USER_CHECK_SECONDS)?,
    };
    check_service_tokens(values, &config.service_tokens)?;
    if mode == AuthMode::Jwt && keys == TokenKeys::Required {
        warnings.extend(weak_secrets(&config));
    }
    Ok((config, warnings))
}

/// A service that was told to check its callers and cannot must not start: settings that mean something to jwt mode only are an error if there
/// is no key, unless `AUTH_MODE=trusted` is set explicitly. Then they are the warning that is returned.
fn check_keys(values: &Values, mode: AuthMode) -> Result<Option<String>, ConfigError> {
    let named = KEYS.map(|setting| setting.name).join(", ");
    if mode == AuthMode::Jwt {
        if KEYS.iter().any(|setting| values.is_given(setting)) {
            return Ok(None);
        }
        let problem = format!("jwt needs a key: set one of {named}");
        return Err(values.fault(&settings::AUTH_MODE, problem));
    }
    let idle = KEYS.iter().chain(&CHECKS).filter(|s| values.differs(s));
    let idle: Vec<_> = idle.collect();
    let Some(first) = idle.first() else {
        return Ok(None);
    };
    if !values.is_given(&settings::AUTH_MODE) {
        let problem = format!("means nothing without a key: set one of {named} as well");
        return Err(values.fault(first, problem));
    }
    let names: Vec<_> = idle.iter().map(|setting| setting.name).collect();
    Ok(Some(format!(
        "AUTH_MODE=trusted believes every caller; no effect: {}",
        names.join(", ")
    )))
}

fn check_service_tokens(values: &Values, tokens: &[Secret]) -> Result<(), ConfigError> {
    if values.is_given(&settings::SERVICE_TOKENS) && tokens.is_empty() {
        return Err(values.fault(&settings::SERVICE_TOKENS, "must hold at least one token"));
    }
    if !tokens.iter().all(goes_into_a_header) {
        let problem = "must be letters, digits and other visible characters of ASCII: a header carries no others";
        return Err(values.fault(&settings::SERVICE_TOKENS, problem));
    }
    Ok(())
}

/// Any other character could not be sent in a header, so nobody could present the token.
fn goes_into_a_header(token: &Secret) -> bool {
    let mut bytes = token.expose().bytes();
    bytes.all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// A warning and not an error: whoever issues the tokens chose the secret, and it cannot be changed here.
fn weak_secrets(config: &AuthConfig) -> Vec<String> {
    let secrets = config.jwt_secret.iter();
    let secrets = secrets.map(|secret| ("JWT_SECRET".to_owned(), secret));
    // By its place: the secret itself is not for the log.
    let tokens = config.service_tokens.iter().zip(1..);
    let tokens = tokens.map(|(token, place)| (format!("SERVICE_TOKENS, token {place}"), token));
    secrets
        .chain(tokens)
        .filter(|(_, secret)| secret.expose().len() < STRONG_SECRET_BYTES)
        .map(|(name, _)| {
            format!(
                "{name}: shorter than {STRONG_SECRET_BYTES} bytes, so it may be found by trying; make one with \
                 \"openssl rand -base64 32\""
            )
        })
        .collect()
}
