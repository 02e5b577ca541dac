//! Tokens made by `@nestjs/jwt` itself (tests/nestjs), since that is what the hosts of this service use.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::get;
use crate::support::*;

/// Needs `npm ci` in tests/nestjs; scripts/test-nestjs.sh, which `make test` runs, sees to that.
fn made() -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nestjs/tokens.mjs");
    let ran = Command::new("node")
        .arg(script)
        .arg(ALICE.to_string())
        .output();
    let ran = ran.expect("node runs");
    let fault = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{fault}");
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

async fn replica(database: &Database, settings: &[(&str, &str)]) -> Replica {
    let mut all = vec![("SERVER_HOST", "127.0.0.1")];
    all.extend(settings);
    Replica::start(database, &all).await
}

#[tokio::test]
#[ignore = "needs npm: scripts/test-nestjs.sh runs it"]
async fn tokens_of_nestjs_are_taken_and_its_wrong_ones_are_not() {
    let made = made();
    let database = Database::fresh().await;
    let own = format!("/api/v1/chat/conversations/{ALICE}");
    let secret = ("JWT_SECRET", text(&made["secret"]));

    let plain = replica(&database, &[secret]).await;
    for good in ["hs256", "checked"] {
        get(&plain, &own, text(&made[good])).await.ok(200);
    }
    for (bad, code) in [
        ("expired", "token_expired"),
        ("early", "token_invalid"),
        ("endless", "token_invalid"),
        ("hs512", "token_invalid"),
        ("userId", "token_invalid"),
    ] {
        get(&plain, &own, text(&made[bad])).await.refused(401, code);
    }
    Socket::connect_by(&plain, ALICE, text(&made["hs256"])).await;

    let checks = [
        secret,
        ("JWT_ISSUER", "https://host.example"),
        ("JWT_AUDIENCE", "chat"),
    ];
    let checking = replica(&database, &checks).await;
    get(&checking, &own, text(&made["checked"])).await.ok(200);
    get(&checking, &own, text(&made["hs256"]))
        .await
        .refused(401, "token_invalid");

    let claim = replica(&database, &[secret, ("JWT_USER_CLAIM", "userId")]).await;
    get(&claim, &own, text(&made["userId"])).await.ok(200);

    let dir = fresh_dir("nestjs");
    for (key, other) in [("rs256", "es256"), ("es256", "rs256")] {
        let pem = dir.join(format!("{key}.pem"));
        fs::write(&pem, text(&made[key]["pem"])).expect("written");
        let by_pem = replica(
            &database,
            &[("JWT_PUBLIC_KEY_FILE", pem.to_str().expect("UTF-8"))],
        )
        .await;
        get(&by_pem, &own, text(&made[key]["token"])).await.ok(200);
        for bad in [&made[other]["token"], &made["hs256"]] {
            get(&by_pem, &own, text(bad))
                .await
                .refused(401, "token_invalid");
        }
    }

    let file = dir.join("jwks.json");
    let keys = json!({"keys": [made["rs256"]["jwk"], made["es256"]["jwk"]]});
    fs::write(&file, keys.to_string()).expect("written");
    let by_jwks = replica(
        &database,
        &[("JWT_JWKS_FILE", file.to_str().expect("UTF-8"))],
    )
    .await;
    for key in ["rs256", "es256"] {
        for good in ["token", "named"] {
            get(&by_jwks, &own, text(&made[key][good])).await.ok(200);
        }
        let stranger = text(&made[key]["stranger"]);
        get(&by_jwks, &own, stranger)
            .await
            .refused(401, "token_invalid");
    }
}
