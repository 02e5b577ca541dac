//! What a browser needs to be told before a page from another origin may call (Fetch standard, "CORS protocol").
//! No credentials mode: tokens travel in a header that the page sets, never in a cookie.

use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW,
    HeaderName, ORIGIN, VARY,
};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reject::{self, Rejection};
use warp::reply::Response;

use crate::config::Config;

/// Headers that a page may set, besides those that every page may. The last four are those that OpenTelemetry (W3C Trace Context, W3C
/// Baggage) and Sentry add to all requests of a page, which would fail otherwise; they are not read.
const REQUEST_HEADERS: &str =
    "authorization, content-type, x-request-id, traceparent, tracestate, baggage, sentry-trace";

/// Headers that a page may read, besides those that every page may.
const EXPOSED_HEADERS: &str = "x-request-id, retry-after, www-authenticate";

/// How long a browser need not ask again, in seconds: as long as browsers agree on.
const MAX_AGE: &str = "7200";

/// `routes`, with the headers for pages of `ALLOWED_ORIGINS` on every answer, errors too. Refuses nothing: it is
/// the browser that does.
pub fn cors(routes: BoxedFilter<(Response,)>, config: Arc<Config>) -> BoxedFilter<(Response,)> {
    if config.allowed_origins.is_same_origin_only() {
        return routes;
    }
    warp::method()
        .and(warp::header::headers_cloned())
        .and(routes)
        .map(
            move |method: Method, request: HeaderMap, mut response: Response| {
                if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    tell(&config, &method, &request, &mut response);
                }
                response
            },
        )
        .boxed()
}

/// A browser's question before a request of a page.
pub fn preflight() -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::method()
        .and(warp::header::headers_cloned())
        .and_then(|method: Method, headers: HeaderMap| async move {
            match is_preflight(&method, &headers) {
                true => Ok(()),
                false => Err(reject::not_found()),
            }
        })
        .untuple_one()
}

fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn tell(config: &Config, method: &Method, request: &HeaderMap, response: &mut Response) {
    let mut set = |name: HeaderName, value: HeaderValue| {
        response.headers_mut().insert(name, value);
    };
    // The answer depends on the origin, also where the request names none: a cache must not mix them up.
    set(VARY, HeaderValue::from_static("origin"));
    let listed = request.get(ORIGIN).filter(|origin| {
        origin
            .to_str()
            .is_ok_and(|origin| config.allowed_origins.may_read(origin))
    });
    let Some(origin) = listed else { return };
    set(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    set(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(EXPOSED_HEADERS),
    );
    let methods = response.headers().get(ALLOW).cloned();
    if let (true, Some(methods)) = (is_preflight(method, request), methods) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(REQUEST_HEADERS),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    }
}
