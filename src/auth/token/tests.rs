use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::config::Config;

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

#[test]
fn an_expired_token_is_told_from_an_invalid_one() {
    let config = config(&[]);
    let mut past = config.clone();
    past.jwt_secret = Some(crate::config::Secret::new("another secret".to_owned()));
    let forged = mint(&past, user(), HOUR).unwrap();
    let code = |token: &str| verifier(&config).verify(token).unwrap_err().code();
    assert_eq!(code(&forged), "token_invalid");
    let expired = mint(&config, user(), Duration::ZERO).unwrap();
    // `exp` is now: from then on, not after it.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(code(&expired), "token_expired");
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
