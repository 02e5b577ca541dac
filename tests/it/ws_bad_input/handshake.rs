//! Handshakes that are refused.

use super::*;

#[tokio::test]
async fn a_refused_handshake_is_an_ordinary_error() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let ask = async |query: &str| handshake(&replica, &format!("/ws{query}"), &[]).await;

    for query in [
        "",
        "?user_id=",
        "?user_id=1",
        "?user_id=not-a-uuid",
        "?userId=x",
    ] {
        ask(query).await.refused(400, INVALID);
    }
    // As over HTTP: a proxy in front may have checked the other one.
    for doubled in [
        format!("?user_id={ALICE}&user_id={BORIS}"),
        format!("?user_id={ALICE}&cursor=&cursor=x"),
        format!("?user_id={ALICE}&ticket=&ticket=x"),
        format!("?user_id={ALICE}&active=true&active=false"),
    ] {
        let message = ask(&doubled).await.refused(400, INVALID);
        assert!(message.contains("only once"), "{message}");
    }
    // Nobody guesses what was meant, and the parameter is named.
    for (query, fault) in [
        ("?user_id=1".to_owned(), "user_id must be a UUID, not \"1\""),
        (
            format!("?user_id={ALICE}&ticket=%zz"),
            "ticket holds a malformed percent escape",
        ),
        (
            format!("?user_id={ALICE}&ticket=%ff"),
            "ticket is not valid UTF-8",
        ),
        (
            format!("?user_id={ALICE}&ticket=%00"),
            "ticket must not contain U+0000",
        ),
        (
            format!("?user_id={ALICE}&active="),
            "active must be true or false, not \"\"",
        ),
        (
            format!("?user_id={ALICE}&active=0"),
            "active must be true or false, not \"0\"",
        ),
        (
            format!("?user_id={ALICE}&active=False"),
            "active must be true or false, not \"False\"",
        ),
        (
            format!("?user_id={ALICE}&active=%ff"),
            "active is not valid UTF-8",
        ),
    ] {
        assert_eq!(ask(&query).await.refused(400, INVALID), fault);
    }
    let unknown = ask(&format!("?user_id={NOBODY}")).await;
    let message = unknown.refused(404, "user_not_found");
    assert!(message.contains(&NOBODY.to_string()), "{message}");
}

#[tokio::test]
async fn what_is_no_handshake_is_told_to_upgrade() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let ask = |headers: Vec<(&'static str, &'static str)>| {
        let mut request = replica
            .api()
            .request(Method::GET, &format!("/ws?user_id={ALICE}"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Reply::to(request)
    };

    ask(vec![]).await.refused(426, "upgrade_required");
    for left_out in 0..HANDSHAKE.len() {
        let mut headers = HANDSHAKE.to_vec();
        headers.remove(left_out);
        let reply = ask(headers).await;
        reply.refused(426, "upgrade_required");
        assert_eq!(reply.header("sec-websocket-version"), "13", "{reply:?}");
    }
    for (name, value) in [
        ("sec-websocket-version", "8"),
        ("sec-websocket-version", "thirteen"),
        ("sec-websocket-key", "short"),
        ("sec-websocket-key", ""),
        ("upgrade", "h2c"),
        ("connection", "close"),
    ] {
        let mut headers = HANDSHAKE.to_vec();
        headers.retain(|header| header.0 != name);
        headers.push((name, value));
        ask(headers).await.refused(426, "upgrade_required");
    }
    // All headers there, but HTTP/1.0 has no upgrade.
    let mut raw = Raw::connect(&replica).await;
    let head = handshake_text(&format!("/ws?user_id={ALICE}"));
    raw.write(head.replace("HTTP/1.1", "HTTP/1.0")).await;
    let reply = raw.reply().await.expect("an answer");
    reply.refused(426, "upgrade_required");
}

#[tokio::test]
async fn a_foreign_page_may_not_open_a_socket() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let same = format!("http://127.0.0.1:{}", replica.port());
    let path = format!("/ws?user_id={ALICE}");
    let ask = async |origin: &str| handshake(&replica, &path, &[("origin", origin)]).await;

    for foreign in [
        "https://evil.example",
        "http://127.0.0.1:1",
        "null",
        &(same.clone() + ".evil.example"),
    ] {
        ask(foreign).await.refused(403, "origin_not_allowed");
    }
    assert_eq!(ask(&same).await.status, 101);
}
