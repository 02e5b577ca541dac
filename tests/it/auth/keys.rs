//! Keys: several in a JWKS file, rotation, PEM, service tokens, and `pgchat token`.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use super::tokens::{Key, SECRET, claims, hmac_token, hs256, now, token};
use super::{SERVICE_TOKEN, get};
use crate::support::*;

fn jwks(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<Value>>()}).to_string()
}

async fn status(replica: &Replica, token: &str) -> u16 {
    get(replica, "/api/v1/users", token).await.status
}

/// Until a token by this key is over that was good for several times as long as between two looks at the files.
async fn a_few_looks(replica: &Replica, key: &Key) {
    let mut claims = claims(ALICE);
    claims["exp"] = json!(now() + 6);
    let short = key.token_of(&claims, Some(key.kid));
    eventually("some seconds pass", || async {
        (status(replica, &short).await == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_key_of_a_jwks_file_counts_and_a_rotation_needs_no_restart() {
    let database = Database::fresh().await;
    let [first, second, third] = [Key::es256("1"), Key::eddsa("2"), Key::es256("3")];
    let file = fresh_dir("jwks").join("jwks.json");
    fs::write(&file, jwks(&[&first, &second])).expect("written");
    let settings = [
        ("JWT_JWKS_FILE", file.to_str().expect("UTF-8")),
        ("SERVER_HOST", "127.0.0.1"),
    ];
    let replica = Replica::start(&database, &settings).await;
    for key in [&first, &second] {
        assert_eq!(status(&replica, &key.token(ALICE)).await, 200);
        assert_eq!(status(&replica, &key.token_named(ALICE, None)).await, 200);
        // The key of another name.
        assert_eq!(
            status(&replica, &key.token_named(ALICE, Some("3"))).await,
            401
        );
    }
    assert_eq!(status(&replica, &third.token(ALICE)).await, 401);
    assert_eq!(
        status(&replica, &third.token_named(ALICE, Some("1"))).await,
        401
    );
    // No secret is set: nothing that is signed by one counts.
    assert_eq!(status(&replica, &token(ALICE)).await, 401);

    // A half-written file changes nothing, and is told of each time that it becomes one, though not at each look.
    let put = |text: &str| {
        // In one step: a look in between would find it empty.
        let beside = file.with_extension("new");
        fs::write(&beside, text).expect("written");
        fs::rename(&beside, &file).expect("in its place");
    };
    let told = || replica.log().matches("the keys stay as they were").count();
    for times in 1..=2 {
        put("{\"keys\": [");
        eventually("the bad file is noticed", || async {
            (told() == times).then_some(())
        })
        .await;
        a_few_looks(&replica, &first).await;
        assert_eq!(told(), times, "{}", replica.log());
        assert_eq!(replica.api().metric("pgchat_key_files_usable").await, 0.0);
        put(&jwks(&[&first, &second]));
        a_few_looks(&replica, &first).await;
        assert_eq!(replica.api().metric("pgchat_key_files_usable").await, 1.0);
    }

    // So is what is not used of a new file, and that it was taken.
    let secret = json!({"kty": "oct", "k": "AAAA"});
    let keys = json!({"keys": [second.jwk(), secret, third.jwk()]});
    put(&keys.to_string());
    eventually("the new key counts", || async {
        (status(&replica, &third.token(ALICE)).await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&replica, &first.token(ALICE)).await, 401);
    a_few_looks(&replica, &second).await;
    for line in ["key 2 is not used", "the key files have changed"] {
        let log = replica.log();
        assert_eq!(log.matches(line).count(), 1, "{log}");
    }
}

/// A name is for a quick find: providers publish keys without one, and two of the same while they rotate.
#[tokio::test]
async fn keys_that_a_name_does_not_tell_apart_are_tried_one_after_the_other() {
    let database = Database::fresh().await;
    let [first, second, nameless] = [Key::es256("1"), Key::es256("1"), Key::es256("")];
    let mut without_name = nameless.jwk();
    without_name.as_object_mut().expect("a key").remove("kid");
    let mut keys = vec![first.jwk(), second.jwk(), without_name];
    // As many as a file may have, in as many bytes.
    keys.resize_with(32, || Key::es256("other").jwk());
    let document = json!({"keys": keys}).to_string();
    let file = fresh_dir("jwks").join("jwks.json");
    let padding = " ".repeat(256 * 1024 - document.len());
    fs::write(&file, document + &padding).expect("written");
    let settings = [
        ("JWT_JWKS_FILE", file.to_str().expect("UTF-8")),
        ("SERVER_HOST", "127.0.0.1"),
    ];
    let replica = Replica::start(&database, &settings).await;
    for (key, kid, expected) in [
        (&first, Some("1"), 200),
        (&second, Some("1"), 200),
        (&first, None, 200),
        (&second, None, 200),
        (&nameless, None, 200),
        (&nameless, Some("1"), 200),
        (&nameless, Some("2"), 200),
        (&first, Some("2"), 401),
        (&second, Some(""), 401),
    ] {
        let token = key.token_named(ALICE, kid);
        assert_eq!(status(&replica, &token).await, expected, "{kid:?}");
    }
    // What the right key says of a token is the answer, and not what the last one says.
    let mut over = claims(ALICE);
    over["exp"] = json!(now() - 1);
    for key in [&first, &second, &nameless] {
        let reply = get(&replica, "/api/v1/users", &key.token_of(&over, None)).await;
        reply.refused(401, "token_expired");
    }
}

#[tokio::test]
async fn a_key_in_a_pem_file_counts_alone_and_can_be_changed() {
    let database = Database::fresh().await;
    let [first, second, other] = [Key::es256("1"), Key::eddsa("2"), Key::eddsa("3")];
    let file = fresh_dir("pem").join("key.pem");
    fs::write(&file, first.pem()).expect("written");
    let settings = [
        ("JWT_PUBLIC_KEY_FILE", file.to_str().expect("UTF-8")),
        ("SERVER_HOST", "127.0.0.1"),
    ];
    let replica = Replica::start(&database, &settings).await;
    assert_eq!(status(&replica, &first.token(ALICE)).await, 200);
    assert_eq!(status(&replica, &second.token(ALICE)).await, 401);
    // The public key is known to all: taken for a secret, it would sign for all.
    for text in [first.pem(), first.pem().trim_end().to_owned()] {
        let header = json!({"alg": "HS256", "typ": "JWT"});
        let forged = hmac_token(&header, &claims(ALICE), &text);
        assert_eq!(status(&replica, &forged).await, 401);
    }

    fs::write(&file, second.pem()).expect("written");
    eventually("the new key counts", || async {
        (status(&replica, &second.token(ALICE)).await == 200).then_some(())
    })
    .await;
    for wrong in [&first, &other] {
        assert_eq!(status(&replica, &wrong.token(ALICE)).await, 401);
    }
}

#[tokio::test]
async fn several_service_tokens_count_at_once() {
    let database = Database::fresh().await;
    let both = format!("{SERVICE_TOKEN}, another service token that is long enough");
    let settings = [("SERVICE_TOKENS", &*both), ("SERVER_HOST", "127.0.0.1")];
    let replica = Replica::start(&database, &settings).await;
    for good in [SERVICE_TOKEN, "another service token that is long enough"] {
        assert_eq!(status(&replica, good).await, 200);
    }
    for bad in [&both, "another", &SERVICE_TOKEN.to_uppercase()] {
        assert_eq!(status(&replica, bad).await, 401);
    }
}

#[tokio::test]
async fn pgchat_token_prints_a_token_that_the_service_takes() {
    let database = Database::fresh().await;
    let checks = [
        ("JWT_SECRET", SECRET),
        ("JWT_ISSUER", "https://host.example"),
        ("JWT_AUDIENCE", "chat"),
        ("JWT_USER_CLAIM", "userId"),
        ("SERVER_HOST", "127.0.0.1"),
    ];
    let replica = Replica::start(&database, &checks).await;
    let user = ALICE.to_string();
    let variables = settings(&database, &checks);
    let printed = pgchat(&["token", "--user", &user, "--ttl", "15m"], &variables).await;
    let token = printed.assert_ok().stdout.trim_end();
    let path = format!("/api/v1/chat/conversations/{ALICE}");
    get(&replica, &path, token).await.ok(200);
    let path = format!("/api/v1/chat/conversations/{BORIS}");
    get(&replica, &path, token)
        .await
        .refused(403, "user_mismatch");
    // Without the claim that is configured, a token names nobody.
    let other = hs256(
        &json!({"sub": ALICE, "exp": now() + 60, "iss": "https://host.example", "aud": "chat"}),
    );
    get(&replica, "/api/v1/users", &other)
        .await
        .refused(401, "token_invalid");

    let keyless = pgchat(&["token", "--user", &user], &settings(&database, &[])).await;
    keyless.assert_failed(2, &["JWT_SECRET", "must be set"]);
    for wrong in [
        &["token"][..],
        &["token", "--user", "x"],
        &["token", "--user", &user, "--ttl", "x"],
    ] {
        assert_eq!(pgchat(wrong, &variables).await.code, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_scheme_other_than_bearer_is_no_credential() {
    let database = Database::fresh().await;
    let replica = super::replica(&database, &[]).await;
    for value in ["Basic YTpi".to_owned(), token(ALICE), "Bearer".to_owned()] {
        let request = replica.api().request(Method::GET, "/api/v1/users");
        let reply = Reply::to(request.header("authorization", value)).await;
        reply.refused(401, "token_invalid");
    }
}
