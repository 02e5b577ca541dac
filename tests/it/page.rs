//! What the service has for browsers: the client, and the page.

use reqwest::{Method, StatusCode};

use crate::support::{Database, Replica, Reply};

#[tokio::test]
async fn the_browser_client_is_served_to_pages_of_any_origin_and_fetched_once() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();

    let client = api.get("/client/pgchat.js").await;

    assert_eq!(client.status, 200, "{client:?}");
    assert_eq!(client.text, include_str!("../../clients/js/pgchat.js"));
    assert_eq!(
        client.header("content-type"),
        "text/javascript; charset=utf-8"
    );
    assert_eq!(client.header("access-control-allow-origin"), "*");
    assert_eq!(client.header("cache-control"), "no-cache");
    assert_eq!(client.header("x-content-type-options"), "nosniff");
    let tag = client.header("etag").to_owned();
    for (tag, status) in [(tag.as_str(), 304), ("\"another\"", 200)] {
        let again = api
            .request(Method::GET, "/client/pgchat.js")
            .header("if-none-match", tag)
            .send()
            .await
            .unwrap();
        assert_eq!(again.status(), StatusCode::from_u16(status).unwrap());
        assert_eq!(again.headers()["access-control-allow-origin"], "*");
        assert_eq!(again.text().await.unwrap().is_empty(), status == 304);
    }
    let types = api.get("/client/pgchat.d.ts").await;
    assert_eq!(types.text, include_str!("../../clients/js/pgchat.d.ts"));
    api.get("/client/other.js")
        .await
        .refused(404, "route_not_found");
}

#[tokio::test]
async fn the_page_at_the_root_may_open_connections_and_run_nothing() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();

    let page = api.get("/").await;

    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(policy.contains("connect-src 'self' ws: wss:;"), "{policy}");
    assert!(!policy.contains("script-src"), "{policy}");
    for link in ["href=\"health\"", "href=\"metrics\""] {
        assert!(page.text.contains(link), "{page:?}");
    }
    let head = Reply::to(api.request(Method::HEAD, "/")).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    let post = Reply::to(api.request(Method::POST, "/")).await;
    post.refused(405, "method_not_allowed");
}
