//! Tokens that a test makes by hand, wrong ones among them: no library is asked to make what it would refuse.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};
use uuid::Uuid;

pub const SECRET: &str = "a secret of the tests, 32 bytes or more";

pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock").as_secs().cast_signed()
}

/// Claims of a good token, for a quarter of an hour.
pub fn claims(user: Uuid) -> Value {
    json!({"sub": user, "iat": now(), "exp": now() + 900})
}

/// A good token.
pub fn token(user: Uuid) -> String {
    hs256(&claims(user))
}

/// A good token that expires in so many seconds.
pub fn token_for(user: Uuid, seconds: i64) -> String {
    token_until(user, now() + seconds)
}

/// A good token until this moment, for a test that says when that is.
pub fn token_until(user: Uuid, expires: i64) -> String {
    hs256(&json!({"sub": user, "exp": expires}))
}

pub fn hs256(claims: &Value) -> String {
    hmac_token(&json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET)
}

/// Whatever the header says, signed by HMAC-SHA256.
pub fn hmac_token(header: &Value, claims: &Value, secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    signed(header, claims, |input| {
        hmac::sign(&key, input).as_ref().to_vec()
    })
}

/// `alg: none`, without a signature.
pub fn unsigned(claims: &Value) -> String {
    signed(&json!({"alg": "none", "typ": "JWT"}), claims, |_| {
        Vec::new()
    })
}

fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(input.as_bytes()));
    format!("{input}.{signature}")
}

/// Bytes as they stand in a PEM file (RFC 7468).
pub fn pem(label: &str, bytes: &[u8]) -> String {
    let text: Vec<char> = STANDARD.encode(bytes).chars().collect();
    let lines: Vec<String> = text.chunks(64).map(|line| line.iter().collect()).collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

/// A key pair of its own, with its name in a JWKS document.
pub struct Key {
    pub kid: &'static str,
    pair: Pair,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Key {
    pub fn es256(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key");
        Self {
            kid,
            pair: Pair::Es256(pair),
        }
    }

    pub fn eddsa(kid: &'static str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
        Self {
            kid,
            pair: Pair::EdDsa(pair),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Es256(_) => "ES256",
            Pair::EdDsa(_) => "EdDSA",
        }
    }

    /// The public key as a member of a JWKS document.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig",
                       "x": text(&point[1..33]), "y": text(&point[33..])})
            }
            Pair::EdDsa(pair) => json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid,
                                        "x": text(pair.public_key().as_ref())}),
        }
    }

    /// The public key as `openssl pkey -pubout` writes it (RFC 5480, RFC 8410).
    pub fn pem(&self) -> String {
        let (head, key): (&[u8], &[u8]) = match &self.pair {
            Pair::Es256(pair) => (
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
                pair.public_key().as_ref(),
            ),
            Pair::EdDsa(pair) => (
                b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
                pair.public_key().as_ref(),
            ),
        };
        pem("PUBLIC KEY", &[head, key].concat())
    }

    pub fn token(&self, user: Uuid) -> String {
        self.token_named(user, Some(self.kid))
    }

    pub fn token_named(&self, user: Uuid, kid: Option<&str>) -> String {
        self.token_of(&claims(user), kid)
    }

    pub fn token_of(&self, claims: &Value, kid: Option<&str>) -> String {
        let mut header = json!({"alg": self.algorithm(), "typ": "JWT"});
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        signed(&header, claims, |input| match &self.pair {
            Pair::Es256(pair) => {
                let random = SystemRandom::new();
                pair.sign(&random, input)
                    .expect("a signature")
                    .as_ref()
                    .to_vec()
            }
            Pair::EdDsa(pair) => pair.sign(input).as_ref().to_vec(),
        })
    }
}
