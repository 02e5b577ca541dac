//! Every answer tells a browser not to guess its type, not to frame it, and what it may load.

use reqwest::Method;
use reqwest::header::HeaderMap;

use crate::auth::SERVICE_TOKEN;
use crate::support::*;

/// Of what is no page, and of every error, wherever it stands.
const NO_PAGE: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sources that a policy may name. A style that stands in the markup is Swagger UI's, and no script.
fn assert_strict(policy: &str, what: &str) {
    let directives: Vec<&str> = policy.split(';').map(str::trim).collect();
    for wanted in [
        "default-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(directives.contains(&wanted), "{what}: {policy}");
    }
    for directive in directives {
        let (name, sources) = directive.split_once(' ').unwrap_or((directive, ""));
        for source in sources.split_whitespace() {
            let fine = match source {
                "'none'" | "'self'" => true,
                "data:" => name == "img-src",
                "'unsafe-inline'" => name == "style-src" && what.contains("/docs"),
                // The chat page's second pane, at another replica of the same machine.
                "http://127.0.0.1:*" | "ws://127.0.0.1:*" | "http://localhost:*"
                | "ws://localhost:*" => name == "connect-src",
                "'script'" => name == "require-trusted-types-for",
                _ => false,
            };
            assert!(fine, "{what}: {directive}");
        }
    }
}

fn assert_told(status: u16, headers: &HeaderMap, what: &str) {
    let one = |name: &str| {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{what}: {name}: {headers:?}");
        values[0].to_str().expect("text").to_owned()
    };
    let policy = one("content-security-policy");
    assert_strict(&policy, what);
    if status >= 400 {
        assert_eq!(policy, NO_PAGE, "{what}: {status}");
    }
    assert_eq!(one("x-content-type-options"), "nosniff", "{what}");
    assert_eq!(one("x-frame-options"), "DENY", "{what}");
    assert_eq!(one("referrer-policy"), "no-referrer", "{what}");
    // The browser client and its types are for pages of any origin; an error in their place is not.
    let is_code = headers.get("content-type").is_some_and(|kind| {
        kind == "text/javascript; charset=utf-8" || kind == "application/typescript; charset=utf-8"
    });
    let others = match is_code && what.contains("/client/") {
        true => "cross-origin",
        false => "same-origin",
    };
    assert_eq!(one("cross-origin-resource-policy"), others, "{what}");
    if headers
        .get("content-type")
        .is_some_and(|kind| kind == "application/json")
    {
        assert_eq!(one("cache-control"), "no-store", "{what}");
    }
}

#[tokio::test]
async fn every_answer_of_every_route_has_the_security_headers() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let settings = [
        ("SERVICE_TOKENS", SERVICE_TOKEN),
        ("SERVER_HOST", "127.0.0.1"),
        ("ALLOWED_ORIGINS", "https://app.example"),
    ];
    let replica = Replica::start(&database, &settings).await;
    let mut requests = described::operations(ALICE, conversation);
    assert!(requests.len() > 15, "{}", requests.len());
    for (_, path) in requests.clone() {
        requests.push((Method::OPTIONS, path.clone()));
        requests.push((Method::TRACE, path));
    }
    for path in [
        "/",
        "/page/app.js",
        "/page/base.css",
        "/page/icon.svg",
        "/page/nothing",
        "/docs",
        "/docs/",
        "/docs/swagger-ui.css",
        "/docs/nothing",
        "/client/pgchat.js",
        "/client/pgchat.d.ts",
        "/client/conversation.js",
        "/client/conversation.d.ts",
        "/openapi.json",
        "/asyncapi.json",
        "/nothing",
        "/ws",
    ] {
        requests.push((Method::GET, path.to_owned()));
        requests.push((Method::HEAD, path.to_owned()));
        requests.push((Method::POST, path.to_owned()));
    }
    let api = replica.api();
    let mut statuses = std::collections::BTreeSet::new();
    for (method, path) in &requests {
        for token in [None, Some(SERVICE_TOKEN)] {
            let mut request = api
                .request(method.clone(), path)
                .header("origin", "https://app.example");
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.expect("an answer");
            let status = answer.status().as_u16();
            statuses.insert(status);
            assert_told(status, answer.headers(), &format!("{method} {path}"));
        }
    }
    for status in [200, 204, 400, 401, 404, 405, 426] {
        assert!(statuses.contains(&status), "{status}: {statuses:?}");
    }
}

#[tokio::test]
async fn a_page_that_has_not_changed_keeps_its_policy() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let page = replica.api().get("/").await;
    let again = replica
        .api()
        .request(Method::GET, "/")
        .header("if-none-match", page.header("etag"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(again.status().as_u16(), 304);
    assert_eq!(
        again.headers()["content-security-policy"],
        page.header("content-security-policy")
    );
    assert!(
        page.header("content-security-policy")
            .contains("script-src 'self'")
    );
}

#[tokio::test]
async fn an_answer_to_what_is_no_request_has_them_too() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("HEADER_TIMEOUT_SECONDS", "3")]).await;
    let mut raw = Raw::connect(&replica).await;
    // A client would go where it leads.
    raw.request("GET /docs", &[]).await;
    let led = raw.reply().await.expect("an answer");
    assert_eq!(led.status, 308, "{led:?}");
    raw.write("GET / HTTP/1.1\r\nhost: ").await;
    let late = raw.reply().await.expect("an answer");
    late.refused(408, "request_timeout");
    assert!(
        late.head.contains("\r\ncache-control: no-store\r\n"),
        "{late:?}"
    );
    let mut raw = Raw::connect(&replica).await;
    raw.request("CONNECT example.com:80", &[]).await;
    let elsewhere = raw.reply().await.expect("an answer");
    elsewhere.refused(400, "validation_failed");
    let policy = format!("content-security-policy: {NO_PAGE}");
    for reply in [&led, &late, &elsewhere] {
        for header in [
            &policy,
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            let line = format!("\r\n{header}\r\n");
            assert!(reply.head.contains(&line), "{header:?}: {reply:?}");
        }
    }
}
