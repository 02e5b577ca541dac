//! What every answer tells a browser about itself, in one place: the type is not guessed, nobody frames it, no address of
//! this service gets to another site, and what it may load is said for each of the pages. An answer that is no page may
//! load nothing, should a browser ever show it.

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use warp::http::{HeaderValue, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;

/// Of an answer that is no page.
const NO_PAGE: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The chat page's own scripts and styles, no inline ones, and no text that becomes markup (`require-trusted-types-for`). It
/// speaks to where it came from, and to replicas on the same machine: its second pane goes to another one.
const CHAT_PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self' http://127.0.0.1:* ws://127.0.0.1:* http://localhost:* ws://localhost:*; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Swagger UI comes with the binary; it needs its own scripts, its own styles, and small images that stand in them.
const EXPLORER: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// `routes`, with these headers on every answer, errors too. What a route says itself about its caching, or about whom it
/// is for, stays.
pub fn secured(routes: BoxedFilter<(Response,)>) -> BoxedFilter<(Response,)> {
    warp::path::full()
        .and(routes)
        .map(|path: FullPath, mut response: Response| {
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                tell(path.as_str(), &mut response);
            }
            response
        })
        .boxed()
}

/// `response`, which no route has made, with these headers.
pub fn with_headers(mut response: Response) -> Response {
    tell("", &mut response);
    response
}

fn tell(path: &str, response: &mut Response) {
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json");
    let policy = policy(path, response.status());
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CROSS_ORIGIN_RESOURCE_POLICY)
        .or_insert(HeaderValue::from_static("same-origin"));
    // Messages of people: no cache keeps them.
    if is_json {
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
    }
}

fn policy(path: &str, status: StatusCode) -> &'static str {
    let is_page = status.is_success() || status == StatusCode::NOT_MODIFIED;
    let below = |folder: &str| {
        let rest = path.strip_prefix(folder);
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    match is_page {
        true if path == "/" || below("/page") => CHAT_PAGE,
        true if below("/docs") => EXPLORER,
        _ => NO_PAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, status: StatusCode, kind: Option<&'static str>) -> Response {
        let mut response = Response::default();
        *response.status_mut() = status;
        if let Some(kind) = kind {
            let kind = HeaderValue::from_static(kind);
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        tell(path, &mut response);
        response
    }

    #[test]
    fn a_page_may_load_what_it_needs_and_nothing_else_may_load_anything() {
        use StatusCode as S;
        for (path, status, expected) in [
            ("/", S::OK, CHAT_PAGE),
            ("/", S::NOT_MODIFIED, CHAT_PAGE),
            ("/page/app.js", S::OK, CHAT_PAGE),
            ("/docs/", S::OK, EXPLORER),
            ("/docs/swagger-ui.css", S::OK, EXPLORER),
            ("/", S::NOT_FOUND, NO_PAGE),
            ("/docs/nothing", S::NOT_FOUND, NO_PAGE),
            ("/docs", S::PERMANENT_REDIRECT, NO_PAGE),
            ("/pages/x", S::OK, NO_PAGE),
            ("/docset", S::OK, NO_PAGE),
            ("/x/docs/", S::OK, NO_PAGE),
            ("/client/pgchat.js", S::OK, NO_PAGE),
            ("/client/conversation.d.ts", S::OK, NO_PAGE),
            ("/api/v1/users", S::OK, NO_PAGE),
            ("", S::BAD_REQUEST, NO_PAGE),
        ] {
            let response = of(path, status, None);
            let policy = &response.headers()[CONTENT_SECURITY_POLICY];
            assert_eq!(policy, expected, "{path} {status}");
        }
    }

    #[test]
    fn json_is_never_kept_and_what_a_route_says_itself_stays() {
        let json = of("/api/v1/users", StatusCode::OK, Some("application/json"));
        assert_eq!(json.headers()[CACHE_CONTROL], "no-store");
        let page = of("/", StatusCode::OK, Some("text/html; charset=utf-8"));
        assert!(!page.headers().contains_key(CACHE_CONTROL));
        let mut own = Response::default();
        for (name, value) in [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, "no-cache"),
            (CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"),
        ] {
            let value = HeaderValue::from_static(value);
            own.headers_mut().insert(name, value);
        }
        tell("/", &mut own);
        assert_eq!(own.headers()[CACHE_CONTROL], "no-cache");
        assert_eq!(own.headers()[CROSS_ORIGIN_RESOURCE_POLICY], "cross-origin");
    }
}
