//! The keys that tokens are verified with: the secret, a PEM file, a JWKS file. What is wrong with one is told
//! like any other setting.

use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use serde_json::Value;

use super::crypto;
use crate::config::{AuthConfig, ConfigError};

const PEM_FILE: &str = "JWT_PUBLIC_KEY_FILE";
const JWKS_FILE: &str = "JWT_JWKS_FILE";

/// Longest key file, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Keys of one JWKS file. A token that names none of them is tried with each that fits its algorithm.
const MAX_KEYS: usize = 32;

/// RSA moduli in bytes: 2048 bits (RFC 7518 section 3.3) to 8192, the most that ring takes.
const RSA_BYTES: RangeInclusive<usize> = 256..=1024;

const NOT_PEM: &str = "must hold one public key in PEM: RSA, P-256 or Ed25519";
const NOT_P256: &str =
    "an elliptic curve key must be of P-256: an uncompressed point on that curve";
const NOT_ED25519: &str = "an Edwards curve key must be Ed25519";

/// The key files' text, to tell a change by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFiles {
    pem: Option<String>,
    jwks: Option<String>,
}

impl KeyFiles {
    #[cfg(test)]
    pub fn of(pem: Option<&str>, jwks: Option<&str>) -> Self {
        Self {
            pem: pem.map(str::to_owned),
            jwks: jwks.map(str::to_owned),
        }
    }

    /// Reads the files, of at most [`MAX_FILE_BYTES`] each; blocks. The error names the variable of the one that cannot be read.
    pub fn read(config: &AuthConfig) -> Result<Self, ConfigError> {
        let read = |variable, path: &Option<_>| {
            path.as_deref()
                .map(|path| text_of(variable, path))
                .transpose()
        };
        Ok(Self {
            pem: read(PEM_FILE, &config.jwt_public_key_file)?,
            jwks: read(JWKS_FILE, &config.jwt_jwks_file)?,
        })
    }
}

fn text_of(variable: &str, path: &Path) -> Result<String, ConfigError> {
    let fault =
        |problem: String| ConfigError::of_file(variable, format!("{}: {problem}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|e| fault(format!("cannot be read: {e}")))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(fault(format!("must be at most {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// One key, bound to the one algorithm that fits it: a token cannot choose.
#[derive(Debug)]
struct Key {
    algorithm: Algorithm,
    /// `kid` in the JWKS.
    id: Option<String>,
    key: DecodingKey,
}

impl Key {
    /// Refuses what ring would refuse at each token, but for an Ed25519 key that is no point of its curve: ring tells that by a signature only.
    fn new(key: DecodingKey, id: Option<String>) -> Result<Self, &'static str> {
        let algorithm = match (key.family(), key.kind()) {
            (AlgorithmFamily::Hmac, _) => Algorithm::HS256,
            // Out of PEM: by its numbers, as in a JWKS document, so that one rule is for both.
            (AlgorithmFamily::Rsa, DecodingKeyKind::SecretOrDer(der)) => {
                let (n, e) = pkcs1_numbers(der).ok_or(NOT_PEM)?;
                return Self::new(DecodingKey::from_rsa_raw_components(n, e), id);
            }
            (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                check_rsa(n, e)?;
                Algorithm::RS256
            }
            (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point))
                if crypto::is_p256_point(point) =>
            {
                Algorithm::ES256
            }
            (AlgorithmFamily::Ec, _) => return Err(NOT_P256),
            (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(point)) if point.len() == 32 => {
                Algorithm::EdDSA
            }
            (AlgorithmFamily::Ed, _) => return Err(NOT_ED25519),
        };
        Ok(Self { algorithm, id, key })
    }
}

/// Refuses a modulus and an exponent that ring verifies nothing by.
fn check_rsa(n: &[u8], e: &[u8]) -> Result<(), &'static str> {
    // As some libraries write numbers (RFC 7518 section 6.3.1.1).
    if [n, e].iter().any(|number| number.starts_with(&[0])) {
        return Err("n and e of an RSA key must not begin with a zero byte");
    }
    if !RSA_BYTES.contains(&n.len()) {
        return Err("an RSA key must have 2048 to 8192 bits");
    }
    if !is_odd(n) {
        return Err("n of an RSA key must be odd");
    }
    let exponent = e
        .iter()
        .fold(0_u64, |high, byte| high << 8 | u64::from(*byte));
    if e.len() > 5 || !is_odd(e) || !(3..1 << 33).contains(&exponent) {
        return Err("e of an RSA key must be odd, and from 3 to 2^33");
    }
    Ok(())
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|byte| byte % 2 == 1)
}

/// Modulus and exponent of a public key in DER (RFC 8017 appendix A.1.1).
fn pkcs1_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    let (members, rest) = der_element(SEQUENCE, der)?;
    let (n, after_n) = der_positive(members)?;
    let (e, after_e) = der_positive(after_n)?;
    (rest.is_empty() && after_e.is_empty()).then_some((n, e))
}

/// A positive number without the zero byte that is its sign, and what follows it.
fn der_positive(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const INTEGER: u8 = 0x02;
    let (bytes, rest) = der_element(INTEGER, der)?;
    match bytes {
        [0, number @ ..] => Some((number, rest)),
        [0x80..=0xff, ..] => None,
        number => Some((number, rest)),
    }
}

/// What an element with this tag holds, of at most 65,535 bytes, and what follows it.
fn der_element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, content) = match der {
        [found, length @ 0..=0x7f, rest @ ..] if *found == tag => (usize::from(*length), rest),
        [found, 0x81, length, rest @ ..] if *found == tag => (usize::from(*length), rest),
        [found, 0x82, high, low, rest @ ..] if *found == tag => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    content.split_at_checked(length)
}

/// All keys of this replica.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// The keys, and what is odd about them, for the log.
    pub fn new(config: &AuthConfig, files: &KeyFiles) -> Result<(Self, Vec<String>), ConfigError> {
        let mut keys = Vec::new();
        let mut warnings = Vec::new();
        if let Some(secret) = &config.jwt_secret {
            let key = DecodingKey::from_secret(secret.expose().as_bytes());
            keys.push(Key::new(key, None).map_err(|e| ConfigError::of_setting("JWT_SECRET", e))?);
        }
        if let Some(pem) = &files.pem {
            let key = pem_key(pem).map_err(|e| ConfigError::of_file(PEM_FILE, e))?;
            keys.push(key);
        }
        if let Some(jwks) = &files.jwks {
            let usable = jwks_keys(jwks, &mut warnings);
            keys.extend(usable.map_err(|e| ConfigError::of_file(JWKS_FILE, e))?);
        }
        Ok((Self { keys }, warnings))
    }

    /// The keys that a token with this head may have been signed with. A key without a `kid` fits whatever
    /// `kid` the token names, and a token without one fits all keys of its algorithm.
    pub fn fitting(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> impl Iterator<Item = &DecodingKey> {
        self.keys
            .iter()
            .filter(move |key| {
                let named = kid.zip(key.id.as_deref());
                key.algorithm == algorithm && named.is_none_or(|(token, key)| token == key)
            })
            .map(|key| &key.key)
    }

    /// Whether any key takes this algorithm.
    pub fn takes(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.algorithm == algorithm)
    }
}

fn pem_key(pem: &str) -> Result<Key, &'static str> {
    if pem.contains("PRIVATE KEY-----") {
        return Err("holds a private key; give the public one, and keep that where it belongs");
    }
    if pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err("holds a certificate; give its public key (openssl x509 -pubkey -noout)");
    }
    // Only the first would count, and nobody would know.
    if pem.matches("-----BEGIN ").count() > 1 {
        return Err("holds more than one key; JWT_JWKS_FILE takes several");
    }
    let bytes = pem.as_bytes();
    let key = DecodingKey::from_ec_pem(bytes)
        .or_else(|_| DecodingKey::from_ed_pem(bytes))
        .or_else(|_| DecodingKey::from_rsa_pem(bytes))
        .map_err(|_| NOT_PEM)?;
    Key::new(key, None)
}

/// The keys that can verify tokens. Others are left out with a warning: a document that an identity provider
/// publishes may hold keys for other uses.
fn jwks_keys(text: &str, warnings: &mut Vec<String>) -> Result<Vec<Key>, String> {
    let document: Value = serde_json::from_str(text).map_err(|e| format!("is not JSON: {e}"))?;
    let listed = document["keys"]
        .as_array()
        .ok_or(r#"must be a JWKS document: {"keys": […]}"#)?;
    if listed.len() > MAX_KEYS {
        return Err(format!(
            "must hold at most {MAX_KEYS} keys, not {}",
            listed.len()
        ));
    }
    let mut keys = Vec::new();
    for (index, value) in listed.iter().enumerate() {
        match jwk_key(value) {
            Ok(key) => keys.push(key),
            Err(why) => warnings.push(format!("{JWKS_FILE}: key {} is not used: {why}", index + 1)),
        }
    }
    match keys.is_empty() {
        true => Err(format!(
            "holds no key that can verify a token{}",
            warnings
                .last()
                .map_or(String::new(), |why| format!(" ({why})"))
        )),
        false => Ok(keys),
    }
}

fn jwk_key(value: &Value) -> Result<Key, String> {
    if value.get("d").is_some() {
        return Err("it is a private key, which does not belong here".to_owned());
    }
    let jwk: Jwk = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
    let other_use = |named: &PublicKeyUse| *named != PublicKeyUse::Signature;
    if jwk.common.public_key_use.as_ref().is_some_and(other_use) {
        return Err("its use is not sig".to_owned());
    }
    let others = |operations: &Vec<_>| !operations.contains(&KeyOperations::Verify);
    if jwk.common.key_operations.as_ref().is_some_and(others) {
        return Err("its key_ops do not hold verify".to_owned());
    }
    // jsonwebtoken looks at the coordinates alone.
    match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve != EllipticCurve::P256 => {
            return Err(NOT_P256.to_owned());
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve != EllipticCurve::Ed25519 => {
            return Err(NOT_ED25519.to_owned());
        }
        _ => {}
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|e| e.to_string())?;
    if key.family() == AlgorithmFamily::Hmac {
        return Err("it is a secret; JWT_SECRET is the place for that".to_owned());
    }
    let key = Key::new(key, jwk.common.key_id)?;
    match jwk.common.key_algorithm {
        Some(named) if named != KeyAlgorithm::from(key.algorithm) => Err(format!(
            "its alg is {named:?}, and only {:?} is taken for its type",
            key.algorithm
        )),
        _ => Ok(key),
    }
}
