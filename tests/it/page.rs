//! What the service has for browsers: the client, and the page.

use reqwest::{Method, StatusCode};

use crate::support::{Database, Replica, Reply};

#[tokio::test]
async fn the_browser_client_is_served_to_pages_of_any_origin_and_fetched_once() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();

    for (name, content) in [
        ("pgchat.js", include_str!("../../clients/js/pgchat.js")),
        ("pgchat.d.ts", include_str!("../../clients/js/pgchat.d.ts")),
        (
            "conversation.js",
            include_str!("../../clients/js/conversation.js"),
        ),
        (
            "conversation.d.ts",
            include_str!("../../clients/js/conversation.d.ts"),
        ),
    ] {
        let path = format!("/client/{name}");
        let client = api.get(&path).await;

        assert_eq!(client.status, 200, "{client:?}");
        assert_eq!(client.text, content, "{name}");
        let kind = match name.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "ts" => "application/typescript; charset=utf-8",
            other => panic!("{other}"),
        };
        assert_eq!(client.header("content-type"), kind, "{name}");
        assert_eq!(client.header("access-control-allow-origin"), "*");
        assert_eq!(
            client.header("cross-origin-resource-policy"),
            "cross-origin"
        );
        assert_eq!(client.header("cache-control"), "no-cache");
        assert_eq!(client.header("x-content-type-options"), "nosniff");
        let tag = client.header("etag").to_owned();
        for (tag, status) in [(tag.as_str(), 304), ("\"another\"", 200)] {
            let again = api
                .request(Method::GET, &path)
                .header("if-none-match", tag)
                .send()
                .await
                .unwrap();
            assert_eq!(again.status(), StatusCode::from_u16(status).unwrap());
            assert_eq!(again.headers()["access-control-allow-origin"], "*");
            assert_eq!(again.text().await.unwrap().is_empty(), status == 304);
        }
    }
    api.get("/client/other.js")
        .await
        .refused(404, "route_not_found");
}

#[tokio::test]
async fn the_page_is_served_whole_runs_its_own_scripts_only_and_loads_nothing_from_elsewhere() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();

    let page = api.get("/").await;

    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy").to_owned();
    for part in [
        "default-src 'none';",
        "script-src 'self';",
        "style-src 'self';",
        "require-trusted-types-for 'script'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let mut files = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/web")).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read_to_string(&path).unwrap();
        for elsewhere in [
            "src=\"http",
            "href=\"http",
            "import 'http",
            "from 'http",
            "url(http",
            "@import",
        ] {
            assert!(!content.contains(elsewhere), "{path:?}: {elsewhere}");
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "index.html" {
            assert_eq!(content, page.text);
            continue;
        }
        let file = api.get(&format!("/page/{name}")).await;
        assert_eq!(file.text, content, "{name}");
        let kind = match name.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{other}"),
        };
        assert_eq!(file.header("content-type"), kind, "{name}");
        assert_eq!(file.header("content-security-policy"), policy);
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        files += 1;
    }
    assert!(files > 10, "{files}");
    api.get("/page/other.js")
        .await
        .refused(404, "route_not_found");
    let head = Reply::to(api.request(Method::HEAD, "/")).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    let post = Reply::to(api.request(Method::POST, "/")).await;
    post.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn the_page_can_be_turned_off_and_the_client_stays() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("WEB_PAGE", "off")]).await;
    let api = replica.api();

    for path in ["/", "/page/app.js"] {
        api.get(path).await.refused(404, "route_not_found");
    }
    for path in ["/client/pgchat.js", "/client/conversation.js"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    assert_eq!(api.get("/docs/").await.status, 200);
}
