use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::config::{Config, ConfigErrorKind};
use crate::testing;

const SECRET: &str = "a secret of the tests, 32 bytes or more";

fn config(more: &[(&str, &str)]) -> AuthConfig {
    let mut vars = vec![("DB_HOST", "x"), ("JWT_SECRET", SECRET)];
    vars.extend(more);
    Config::from_vars(&vars).unwrap().auth
}

fn verifier(config: &AuthConfig) -> Verifier {
    let (verifier, warnings) = Verifier::new(config, &KeyFiles::default()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    verifier
}

fn user() -> UserId {
    UserId(Uuid::from_u128(7))
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_is_minted_is_verified_under_the_same_settings_and_not_under_others() {
    let plain = config(&[]);
    let named = config(&[("JWT_ISSUER", "us"), ("JWT_AUDIENCE", "chat")]);
    let claim = config(&[("JWT_USER_CLAIM", "userId")]);
    for (minted, verified, fine) in [
        (&plain, &plain, true),
        (&named, &named, true),
        (&named, &plain, true),
        (&claim, &claim, true),
        (&plain, &named, false),
        (&plain, &claim, false),
        (&claim, &plain, false),
    ] {
        let token = mint(minted, user(), HOUR).unwrap();
        let found = verifier(verified).verify(&token);
        assert_eq!(found.is_ok(), fine, "{found:?}");
        if let Ok(token) = found {
            assert_eq!(token.user, user());
            let left = token.expires.0 - UnixSeconds::now().0;
            assert!((3590..=3600).contains(&left), "{left}");
        }
    }
}

/// In that second already (RFC 7519 section 4.1.4). A ticket's token is verified by nothing else.
#[tokio::test]
async fn a_token_is_over_when_its_exp_and_the_leeway_have_come() {
    for (text, leeway) in [("0", 0), ("30", 30)] {
        let vars = [
            ("DB_HOST", "127.0.0.1"),
            ("JWT_SECRET", SECRET),
            ("JWT_LEEWAY_SECONDS", text),
        ];
        let (hub, config) = (testing::hub(1), Config::from_vars(&vars).unwrap());
        let auth = testing::services_of(hub, config).auth;
        let UnixSeconds(now) = UnixSeconds::now();
        let validity = |ends| auth.validity(UnixSeconds(ends - leeway));
        assert_eq!(validity(now).unwrap_err().code().name(), "token_expired");
        let ends = now + 60;
        let until = validity(ends).unwrap();
        assert_eq!((until.expires.0, until.ends.0), (ends - leeway, ends));
    }
}

#[test]
fn an_expired_token_is_told_from_an_invalid_one() {
    let config = config(&[]);
    let mut past = config.clone();
    past.jwt_secret = Some(crate::config::Secret::new("another secret".to_owned()));
    let forged = mint(&past, user(), HOUR).unwrap();
    let code = |token: &str| verifier(&config).verify(token).unwrap_err().code().name();
    assert_eq!(code(&forged), "token_invalid");
    let expired = mint(&config, user(), Duration::ZERO).unwrap();
    // `exp` is now: from then on, not after it.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(code(&expired), "token_expired");
}

/// Whoever has a token that is refused has little else to find out by why.
#[test]
fn what_is_wrong_with_a_token_is_said() {
    let strict = config(&[("JWT_ISSUER", "us"), ("JWT_AUDIENCE", "chat")]);
    let verifier = verifier(&strict);
    let later = UnixSeconds::now().0 + 3600;
    let good = json!({"sub": user(), "exp": later, "iss": "us", "aud": "chat"});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let by = |header: Header, claims: &Value, secret: &str| {
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&header, claims, &key).unwrap()
    };
    let hs256 = || Header::new(Algorithm::HS256);
    let signed = |claims: Value| by(hs256(), &claims, SECRET);
    let critical = Header {
        crit: Some(vec!["b64".to_owned()]),
        ..hs256()
    };
    assert_eq!(verifier.verify(&signed(good.clone())).unwrap().user, user());
    for (token, why) in [
        (signed(with("iss", json!("them"))), "another issuer"),
        (signed(without("iss")), "\"iss\" is missing"),
        (signed(with("aud", json!("shop"))), "another audience"),
        (signed(without("aud")), "\"aud\" is missing"),
        (signed(without("exp")), "\"exp\" is missing"),
        (signed(with("exp", json!("soon"))), "or of the wrong type"),
        (signed(with("exp", json!(1))), "has expired"),
        (signed(with("nbf", json!(later))), "not valid yet"),
        (signed(with("nbf", json!("now"))), "\"nbf\" is malformed"),
        (signed(without("sub")), "\"sub\" must be a UUID"),
        (signed(with("sub", json!("me"))), "\"sub\" must be a UUID"),
        (by(critical, &good, SECRET), "critical header parameters"),
        (by(hs256(), &good, "another"), "signature does not match"),
        (RS256.to_owned(), "algorithm is not accepted"),
        ("a.b.c".to_owned(), "not a JWT"),
    ] {
        let told = verifier.verify(&token).unwrap_err().to_string();
        assert!(told.contains(why), "{why}: {told}");
    }
}

/// Made by OpenSSL with a key that was thrown away: for user 7, to the end of the year 9999.
const RS256: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDciLCJ\
    leHAiOjI1MzQwMjMwMDc5OX0.XTOhm56pURIJXDmBcLZABiAa4h5ryylWVP4_EjzzY3DWrFxem2KQqiLu5mt_ho6UBaarSkDi6OQ\
    zmmQHThvbRJwKrTNeM0TUFvUsi6cTqQt6k-rfScudBwBrINhhOrUZ70Y4Aljrk9VvLm8tCGsusKkMSmNTRGa67ikJCD04zXDXaZx\
    OFunJtwNLA_F-6X25nfceZwPquEacNzPizgH91B4BrNBUdlT0_q52axrrn1rUbCj2xRTkJFXovv0nkFtyG2s3EMzht8CzduJPDII\
    ISd_fQQ3NrfCApiMSsP59mvycclM0q9V_4S1jya14Lk0aT6XksK5qjvRqIVVlE3lu1A";
const RSA_MODULUS: &str = "1Y86exhklgmdeXl1d3lR3EbpwKVQrUmNhR1cLrJA20Aosy8STq4XtZsAAIuzEDFh5zTW3ISGMEIOYytKl_HNobVZg7SxKWPdYMdr\
    ASZJfrR6rGIuNHvLyQV-i9u6z2woskBI9W_KsLt04IxqjwI4xq_yz-34UxRHVRgE0-p3qKaJhuZGpl15tRd-KhnUcBxfX8Cj5RIb\
    ZZvkcJ7Cy7APdt98x3NVRH6vST4MddGf-oVuKHfEOKJSyGKfFGGnBUnMaWEklzDAj7QYtaATqvwWpvPKSdve7v9-KbQZ3B7R2wxb\
    z4gyl2oH5-oWoOzUZ9k_ZEdaFC2vAvvt0I7R9m04jw";
const RSA_PEM: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1Y86exhklgmdeXl1d3lR
3EbpwKVQrUmNhR1cLrJA20Aosy8STq4XtZsAAIuzEDFh5zTW3ISGMEIOYytKl/HN
obVZg7SxKWPdYMdrASZJfrR6rGIuNHvLyQV+i9u6z2woskBI9W/KsLt04IxqjwI4
xq/yz+34UxRHVRgE0+p3qKaJhuZGpl15tRd+KhnUcBxfX8Cj5RIbZZvkcJ7Cy7AP
dt98x3NVRH6vST4MddGf+oVuKHfEOKJSyGKfFGGnBUnMaWEklzDAj7QYtaATqvwW
pvPKSdve7v9+KbQZ3B7R2wxbz4gyl2oH5+oWoOzUZ9k/ZEdaFC2vAvvt0I7R9m04
jwIDAQAB
-----END PUBLIC KEY-----
";
const RSA_PEM_PKCS1: &str = "-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEA1Y86exhklgmdeXl1d3lR3EbpwKVQrUmNhR1cLrJA20Aosy8STq4X
tZsAAIuzEDFh5zTW3ISGMEIOYytKl/HNobVZg7SxKWPdYMdrASZJfrR6rGIuNHvL
yQV+i9u6z2woskBI9W/KsLt04IxqjwI4xq/yz+34UxRHVRgE0+p3qKaJhuZGpl15
tRd+KhnUcBxfX8Cj5RIbZZvkcJ7Cy7APdt98x3NVRH6vST4MddGf+oVuKHfEOKJS
yGKfFGGnBUnMaWEklzDAj7QYtaATqvwWpvPKSdve7v9+KbQZ3B7R2wxbz4gyl2oH
5+oWoOzUZ9k/ZEdaFC2vAvvt0I7R9m04jwIDAQAB
-----END RSA PUBLIC KEY-----
";

#[test]
fn an_rs256_token_is_verified_by_its_key_in_every_form_and_by_no_secret() {
    let jwks = json!({"keys": [{"kty": "RSA", "n": RSA_MODULUS, "e": "AQAB"}]}).to_string();
    let pem = |text: &str| KeyFiles::of(Some(text), None);
    for files in [
        pem(RSA_PEM),
        pem(RSA_PEM_PKCS1),
        KeyFiles::of(None, Some(&jwks)),
    ] {
        let (verifier, _) = Verifier::new(&config(&[]), &files).unwrap();
        assert_eq!(verifier.verify(RS256).unwrap().user, user());
        // Another signature, another user, and the public key as a secret.
        let (input, _) = RS256.rsplit_once('.').unwrap();
        let swapped = RS256.replace("MDciLCJleHAi", "MDgiLCJleHAi");
        let mut public = config(&[]);
        public.jwt_secret = Some(crate::config::Secret::new(RSA_PEM.to_owned()));
        let forged = mint(&public, user(), HOUR).unwrap();
        for wrong in [
            format!("{input}."),
            format!("{input}.AAAA"),
            swapped,
            forged,
        ] {
            assert_ne!(wrong, RS256);
            assert_eq!(
                verifier.verify(&wrong).unwrap_err().code().name(),
                "token_invalid"
            );
        }
    }
    let error = verifier(&config(&[])).verify(RS256).unwrap_err();
    assert!(error.to_string().contains("algorithm"), "{error}");
}

/// It would verify nothing, and tokens, not the key, would seem to be wrong.
#[test]
fn an_rsa_key_whose_numbers_begin_with_a_zero_byte_is_refused_and_not_taken_for_one_that_fits() {
    let zero_before = |number: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(number).unwrap();
        URL_SAFE_NO_PAD.encode([&[0], &*bytes].concat())
    };
    let (n, e) = (zero_before(RSA_MODULUS), zero_before("AQAB"));
    for (n, e) in [(&*n, "AQAB"), (RSA_MODULUS, &*e)] {
        let jwks = json!({"keys": [{"kty": "RSA", "n": n, "e": e}]}).to_string();
        let files = KeyFiles::of(None, Some(&jwks));
        let refused = Verifier::new(&config(&[]), &files).map(drop).unwrap_err();
        assert!(refused.to_string().contains("zero byte"), "{refused}");
    }
}

/// By another one ring would verify nothing, and tokens, not the key, would seem to be wrong.
#[test]
fn an_rsa_key_is_taken_if_ring_verifies_by_one_like_it() {
    let modulus = |bytes| URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
    let take = |n: &str, e: &[u8]| {
        let e = URL_SAFE_NO_PAD.encode(e);
        let jwks = json!({"keys": [{"kty": "RSA", "n": n, "e": e}]}).to_string();
        Verifier::new(&config(&[]), &KeyFiles::of(None, Some(&jwks))).map(drop)
    };
    for bytes in [256, 512, 1024] {
        assert!(take(&modulus(bytes), &[1, 0, 1]).is_ok(), "{bytes}");
    }
    for bytes in [255, 1025] {
        let refused = take(&modulus(bytes), &[1, 0, 1]).unwrap_err().to_string();
        assert!(refused.contains("2048 to 8192 bits"), "{refused}");
    }
    for e in [&[3][..], &[1, 0xff, 0xff, 0xff, 0xff]] {
        assert!(take(RSA_MODULUS, e).is_ok(), "{e:?}");
    }
    for e in [
        &[1][..],
        &[4],
        &[2, 0, 0, 0, 1],
        &[1, 0, 0, 0, 0, 0, 0, 0, 3],
    ] {
        let refused = take(RSA_MODULUS, e).unwrap_err().to_string();
        assert!(refused.contains("e of an RSA key must be odd"), "{refused}");
    }
}

#[test]
fn a_token_of_any_length_is_refused_and_one_of_the_longest_head_is_read() {
    let config = config(&[]);
    let verifier = verifier(&config);
    let told = |length: usize| {
        let token = mint(&config, user(), HOUR).unwrap();
        let padded = "x".repeat(length - token.len()) + &token;
        verifier.verify(&padded).unwrap_err().to_string()
    };
    assert!(!told(MAX_TOKEN_BYTES).contains("longer"));
    assert!(told(MAX_TOKEN_BYTES + 1).contains("longer than 65536 bytes"));
}

proptest! {
    #[test]
    fn no_text_is_a_token(text in "[ -~]{0,200}") {
        prop_assert!(verifier(&config(&[])).verify(&text).is_err());
    }

    #[test]
    fn no_three_parts_of_base64_are_a_token(parts in "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}") {
        prop_assert!(verifier(&config(&[])).verify(&parts).is_err());
    }

    #[test]
    fn a_token_with_one_byte_changed_is_none(at in 0_usize..1000, byte in b'!'..=b'~') {
        let config = config(&[]);
        let token = mint(&config, user(), HOUR).unwrap();
        let at = at % token.len();
        let mut changed = token.clone().into_bytes();
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        let changed = String::from_utf8(changed).unwrap();
        prop_assert!(verifier(&config).verify(&changed).is_err(), "{changed}");
    }
}

/// By it the process ends with one exit code or the other.
#[test]
fn what_is_wrong_with_a_key_file_is_told_from_what_is_wrong_with_a_setting() {
    let missing = config(&[("JWT_JWKS_FILE", "/nonexistent")]);
    let refused = KeyFiles::read(&missing).unwrap_err();
    assert_eq!(refused.variable, "JWT_JWKS_FILE");
    assert_eq!(refused.kind, ConfigErrorKind::File);
    for files in [
        KeyFiles::of(Some("no key"), None),
        KeyFiles::of(None, Some("no JSON")),
    ] {
        let refused = Verifier::new(&config(&[]), &files).map(drop).unwrap_err();
        assert_eq!(refused.kind, ConfigErrorKind::File, "{refused}");
    }
    let mut without = config(&[]);
    without.jwt_secret = None;
    let refused = mint(&without, user(), HOUR).unwrap_err();
    assert_eq!(refused.kind, ConfigErrorKind::Setting, "{refused}");
}
