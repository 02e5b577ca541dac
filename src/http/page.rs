//! `GET /`: a page that says what runs here, and whose console may use the service. It needs no token.

use warp::filters::BoxedFilter;
use warp::http::HeaderValue;
use warp::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use warp::reply::Response;
use warp::{Filter, Reply};

use super::extract::get;
use super::route;

const PAGE: &str = include_str!("../../web/index.html");

/// The page has no script; `connect-src` is for what is typed into its console. Not every browser takes
/// `'self'` for the WebSocket of the same host, so the two schemes are named.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn routes() -> BoxedFilter<(Response,)> {
    route(warp::path::end().and(get()).map(page))
}

fn page() -> Response {
    let mut response = PAGE.into_response();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
