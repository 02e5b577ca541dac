//! Keys that cannot be meant: a service that was told to check its callers, and cannot, does not start.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::get;
use super::tokens::{Key, SECRET, pem};
use crate::support::*;

/// 1024 bits.
const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC5Ltxkp6GNjSZ3QSVFLUsnGOKq
uGPEu4zFVuLRiOt3I6kxXYHUEtXoEgGYVTCR8uYOjTbnYdqXzjKdNTh9yfLHwQrP
nqH2fZ1f0dchEWZM8zlGDMDitGASJV+AeccMMeH9QzBh+8Z2Dq6fk9Vlxku/R2yG
CDQxL5jg9KqEZlkX9wIDAQAB
-----END PUBLIC KEY-----
";

const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEruF2B1BaD1FMuKq87mL80f8/Spqq/mP9
NSnXCjxIS1dIdgKnZxQWZaRIQ4LKgHhv+6L4AVxwetZi0626Mdrii2Lb+JtZmulv
KQ3aVsG9yMJ29tLzsk7QI+p4Ztqa5nXI
-----END PUBLIC KEY-----
";

const SECP256K1: &str = "-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEtW+GpIbWwz4NtB0JON/6ms3aWn4kzkVr
uMqqPgTc5oIU/a8ahIaFhnzEXmA8eWeRqLoDaROcYwdlBbpW8kxRXg==
-----END PUBLIC KEY-----
";

const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMC4CAQ\n-----END CERTIFICATE-----\n";

/// A public key of these numbers, as `openssl rsa -RSAPublicKey_out` writes it (RFC 8017 appendix A.1.1).
fn rsa_pem(n: &[u8], e: &[u8]) -> String {
    let element = |tag: u8, content: &[u8]| {
        let [high, low] = u16::try_from(content.len())
            .expect("a short one")
            .to_be_bytes();
        let length: &[u8] = match (high, low) {
            (0, ..0x80) => &[low],
            (0, _) => &[0x81, low],
            _ => &[0x82, high, low],
        };
        [&[tag], length, content].concat()
    };
    let number = |bytes: &[u8]| {
        let sign: &[u8] = if bytes[0] < 0x80 { &[] } else { &[0] };
        element(0x02, &[sign, bytes].concat())
    };
    let der = element(0x30, &[number(n), number(e)].concat());
    pem("RSA PUBLIC KEY", &der)
}

/// A file of a test, by its path.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        Self(fresh_dir("keys"))
    }

    fn of(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }
}

async fn assert_refused(database: &Database, variables: &[(&str, &str)], words: &[&str]) {
    assert_refused_with(2, database, variables, words).await;
}

/// Another code: whoever starts it again may find another file.
async fn assert_file_refused(database: &Database, variables: &[(&str, &str)], words: &[&str]) {
    assert_refused_with(1, database, variables, words).await;
}

async fn assert_refused_with(
    code: i32,
    database: &Database,
    variables: &[(&str, &str)],
    words: &[&str],
) {
    let ended = pgchat(&["serve"], &settings(database, variables)).await;
    ended.assert_failed(code, words);
    assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{ended:#?}");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_meant_ends_the_start_with_one_line() {
    let database = Database::fresh().await;
    let secret = ("JWT_SECRET", SECRET);
    for (variables, words) in [
        (
            &[("AUTH_MODE", "jwt")][..],
            &["AUTH_MODE", "needs a key"][..],
        ),
        (&[("JWT_ISSUER", "x")], &["JWT_ISSUER", "without a key"]),
        (
            &[secret, ("JWT_LEEWAY_SECONDS", "31")],
            &["JWT_LEEWAY_SECONDS", "30"],
        ),
    ] {
        assert_refused(&database, variables, words).await;
    }
}

#[tokio::test]
async fn a_key_file_that_is_not_there_ends_the_start_and_may_be_there_the_next_time() {
    let database = Database::fresh().await;
    for name in ["JWT_JWKS_FILE", "JWT_PUBLIC_KEY_FILE"] {
        let words = [name, "cannot be read"];
        assert_file_refused(&database, &[(name, "/nonexistent")], &words).await;
    }
}

/// Nothing of the file is quoted: what is in the wrong place may be secret.
#[tokio::test]
async fn a_pem_file_that_holds_no_public_key_of_ours_ends_the_start() {
    let database = Database::fresh().await;
    let files = Files::new();
    let endless = "x".repeat(256 * 1024 + 1);
    let two = Key::es256("1").pem() + &Key::es256("2").pem();
    let rsa = |bytes: usize| rsa_pem(&vec![0xff; bytes], &[1, 0, 1]);
    let [rsa_2000, rsa_8200] = [rsa(250), rsa(1025)];
    let even_modulus = rsa_pem(&[&[0xff; 255][..], &[0xfe]].concat(), &[1, 0, 1]);
    let even_exponent = rsa_pem(&[0xff; 256], &[4]);
    for (name, text, words) in [
        ("no.pem", "no", "public key in PEM"),
        ("private.pem", PRIVATE, "private key"),
        ("certificate.pem", CERTIFICATE, "certificate"),
        ("short.pem", SHORT_RSA, "2048 to 8192 bits"),
        ("2000.pem", &rsa_2000, "2048 to 8192 bits"),
        ("8200.pem", &rsa_8200, "2048 to 8192 bits"),
        ("even.pem", &even_modulus, "n of an RSA key must be odd"),
        ("four.pem", &even_exponent, "e of an RSA key must be odd"),
        ("two.pem", &two, "more than one key"),
        ("p384.pem", P384, "must be of P-256"),
        ("secp256k1.pem", SECP256K1, "must be of P-256"),
        ("endless.pem", &endless, "at most 262144 bytes"),
    ] {
        let path = files.of(name, text);
        let file = ("JWT_PUBLIC_KEY_FILE", path.as_str());
        assert_file_refused(&database, &[file], &["JWT_PUBLIC_KEY_FILE", words]).await;
    }
}

/// Keys that stand in a JWKS document and verify no token, and what is said of each.
fn unusable() -> Vec<(Value, &'static str)> {
    let with = |name: &str, value: Value| {
        let mut key = Key::es256("1").jwk();
        key[name] = value;
        key
    };
    let modulus = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
    let even = URL_SAFE_NO_PAD.encode([&[0xff; 255][..], &[0xfe]].concat());
    let coordinate = URL_SAFE_NO_PAD.encode([1; 48]);
    vec![
        (
            json!({"kty": "oct", "k": "AAAA"}),
            "JWT_SECRET is the place",
        ),
        (
            json!({"kty": "RSA", "n": modulus(255), "e": "AQAB"}),
            "2048 to 8192 bits",
        ),
        (
            json!({"kty": "RSA", "n": modulus(1025), "e": "AQAB"}),
            "2048 to 8192 bits",
        ),
        (
            json!({"kty": "RSA", "n": even, "e": "AQAB"}),
            "n of an RSA key must be odd",
        ),
        // No point of P-256 has this y.
        (
            with("y", json!(URL_SAFE_NO_PAD.encode([0; 32]))),
            "point on that curve",
        ),
        (
            json!({"kty": "EC", "crv": "P-384", "x": coordinate, "y": coordinate}),
            "must be of P-256",
        ),
        (with("crv", json!("P-384")), "must be of P-256"),
        (
            json!({"kty": "OKP", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode([1; 32])}),
            "must be Ed25519",
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([1; 31])}),
            "must be Ed25519",
        ),
        (with("d", json!("AAAA")), "private key"),
        (
            with("key_ops", json!(["encrypt", "wrapKey"])),
            "do not hold verify",
        ),
        (with("key_ops", json!([])), "do not hold verify"),
        (with("use", json!("enc")), "its use is not sig"),
        (with("alg", json!("ES384")), "only ES256 is taken"),
    ]
}

#[tokio::test]
async fn a_jwks_file_without_a_key_for_tokens_ends_the_start() {
    let database = Database::fresh().await;
    let files = Files::new();
    let many: Vec<Value> = (0..33).map(|_| Key::eddsa("1").jwk()).collect();
    let mut cases = vec![
        ("no".to_owned(), "is not JSON"),
        ("{}".to_owned(), "JWKS document"),
        (json!({"keys": []}).to_string(), "no key that can verify"),
        (json!({"keys": many}).to_string(), "at most 32 keys, not 33"),
    ];
    for (key, words) in unusable() {
        cases.push((json!({"keys": [key]}).to_string(), words));
    }
    for (text, words) in cases {
        let path = files.of("jwks.json", &text);
        let file = ("JWT_JWKS_FILE", path.as_str());
        assert_file_refused(&database, &[file], &["JWT_JWKS_FILE", words]).await;
    }
}

/// An identity provider publishes keys for other uses in the same document.
#[tokio::test]
async fn keys_for_other_uses_beside_a_good_one_are_told_and_left_out() {
    let database = Database::fresh().await;
    let good = Key::es256("good");
    let mut published = good.jwk();
    published["alg"] = json!("ES256");
    published["key_ops"] = json!(["verify"]);
    let (mut keys, told): (Vec<Value>, Vec<&str>) = unusable().into_iter().unzip();
    keys.push(published);
    let path = Files::new().of("jwks.json", json!({"keys": keys}).to_string());
    let settings = [("JWT_JWKS_FILE", &*path), ("SERVER_HOST", "127.0.0.1")];
    let replica = Replica::start(&database, &settings).await;
    let log = replica.log();
    for (number, words) in (1..).zip(told) {
        let told = log
            .lines()
            .find(|line| line.contains(&format!("key {number} is not used")));
        assert!(told.is_some_and(|line| line.contains(words)), "{log}");
    }
    let good = good.token(ALICE);
    get(&replica, "/api/v1/users", &good).await.ok(200);
}

/// A cluster's settings are often shared, and its keys given to the service alone.
#[tokio::test]
async fn a_command_that_checks_no_caller_needs_no_key() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let port = replica.port().to_string();
    let here = [("SERVER_PORT", port.as_str()), ("SERVER_HOST", "127.0.0.1")];
    let user = ALICE.to_string();
    for of_tokens in [
        ("AUTH_MODE", "jwt"),
        ("JWT_ISSUER", "x"),
        ("JWT_AUDIENCE", "x"),
        ("JWT_USER_CLAIM", "uid"),
        ("JWT_LEEWAY_SECONDS", "1"),
    ] {
        let shared = settings(&database, &[&here[..], &[of_tokens]].concat());
        for command in ["migrate", "healthcheck"] {
            let ended = pgchat(&[command], &shared).await;
            ended.assert_ok();
            assert!(!ended.stderr.contains("WARN"), "of no use: {ended:#?}");
        }
        let token = ["token", "--user", user.as_str()];
        for command in [&["serve"][..], &token] {
            let ended = pgchat(command, &shared).await;
            ended.assert_failed(2, &[of_tokens.0, "a key"]);
        }
    }
}

/// A replica keeps its keys while a new file is unusable: ended for that by its health check, it could not start again.
#[tokio::test]
async fn a_file_that_a_command_does_not_use_keeps_it_from_nothing() {
    let database = Database::fresh().await;
    let key = Key::es256("1");
    let files = Files::new();
    let jwks = files.of("jwks.json", json!({"keys": [key.jwk()]}).to_string());
    let keys = [
        ("JWT_JWKS_FILE", jwks.as_str()),
        ("JWT_SECRET", SECRET),
        ("SERVER_HOST", "127.0.0.1"),
    ];
    let replica = Replica::start(&database, &keys).await;
    files.of("jwks.json", "no");
    let port = replica.port().to_string();
    let here = [&keys[..], &[("SERVER_PORT", port.as_str())]].concat();
    for command in ["healthcheck", "migrate"] {
        let ended = pgchat(&[command], &settings(&database, &here)).await;
        ended.assert_ok();
    }
    // Whoever starts now has no other keys.
    assert_file_refused(&database, &keys, &["JWT_JWKS_FILE", "is not JSON"]).await;

    let ca = [
        ("DB_SSL_MODE", "verify-full"),
        ("DB_SSL_ROOT_CERT", "/nonexistent"),
    ];
    let here = settings(&database, &[&here[..], &ca].concat());
    let user = ALICE.to_string();
    for command in [&["healthcheck"][..], &["token", "--user", &user]] {
        pgchat(command, &here).await.assert_ok();
    }
    for command in ["migrate", "demo-data", "serve"] {
        let ended = pgchat(&[command], &here).await;
        ended.assert_failed(1, &["DB_SSL_ROOT_CERT", "/nonexistent"]);
    }
}
