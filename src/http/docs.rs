//! What the service says of itself: `/openapi.json`, `/asyncapi.json`, and `/docs`, where both can be read and the
//! routes tried out. None of it needs a token.

pub mod asyncapi;
pub mod openapi;
mod refusals;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use utoipa_swagger_ui::{Config, SwaggerFile};
use warp::filters::BoxedFilter;
use warp::http::header::{CONTENT_TYPE, LOCATION};
use warp::http::{HeaderValue, StatusCode};
use warp::path::Tail;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::files::{CSS, File, HTML, SCRIPT, file};
use super::methods::get;
use super::{any_of, route};
use crate::config::AuthMode;
use crate::error::Error;
use crate::reply::json_text_response;

pub fn routes(mode: AuthMode) -> BoxedFilter<(Response,)> {
    any_of([
        json("openapi.json", &openapi::document(mode)),
        json("asyncapi.json", &asyncapi::document(mode)),
        explorer(),
    ])
}

/// Of every time that pgchat writes.
const TIME: &str = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$";

/// Says of every time in a document which one form it has. RFC 3339 alone allows several, which as texts have another order.
fn pin_times(document: &mut Value) {
    match document {
        Value::Object(object) => {
            if object
                .get("format")
                .is_some_and(|format| format == "date-time")
            {
                object.insert("pattern".to_owned(), TIME.into());
            }
            object.values_mut().for_each(pin_times);
        }
        Value::Array(items) => items.iter_mut().for_each(pin_times),
        _ => {}
    }
}

/// A document, made once.
fn json(name: &'static str, document: &Value) -> BoxedFilter<(Response,)> {
    let text = Bytes::from(document.to_string());
    route(
        warp::path(name)
            .and(warp::path::end())
            .and(get())
            .map(move || json_text_response(StatusCode::OK, text.clone())),
    )
}

/// Swagger UI, with a page of ours around it: for phones, and dark where the system is.
const EXPLORER: File = File {
    content: include_str!("docs/explorer/index.html"),
    kind: HTML,
    headers: &[],
};

/// From the explorer's page on, for a proxy may serve both below a path.
const DOCUMENT: &str = "../openapi.json";

fn explorer() -> BoxedFilter<(Response,)> {
    let config = Arc::new(
        Config::new([DOCUMENT])
            .try_it_out_enabled(true)
            .display_request_duration(true)
            .use_base_layout(),
    );
    let path = warp::path("docs");
    any_of([
        // The files are named relative to the page, so its address needs the slash.
        route(
            path.and(warp::path::full())
                .and(warp::path::end())
                .and(get())
                .and_then(|full: warp::path::FullPath| async move {
                    match full.as_str().ends_with('/') {
                        true => Err(warp::reject::not_found()),
                        false => Ok(to_slash()),
                    }
                }),
        ),
        file(path.boxed(), EXPLORER),
        own(
            "explorer.css",
            include_str!("docs/explorer/explorer.css"),
            CSS,
        ),
        own(
            "explorer.js",
            include_str!("docs/explorer/explorer.js"),
            SCRIPT,
        ),
        route(
            path.and(warp::path::tail())
                .and(get())
                .and_then(move |tail: Tail| {
                    let config = config.clone();
                    async move {
                        match utoipa_swagger_ui::serve(tail.as_str(), config) {
                            Ok(Some(file)) => Ok(asset(file)),
                            Ok(None) => Err(warp::reject::not_found()),
                            Err(error) => {
                                Ok(Error::Internal(error.to_string().into()).into_response())
                            }
                        }
                    }
                }),
        ),
    ])
}

fn own(name: &'static str, content: &'static str, kind: &'static str) -> BoxedFilter<(Response,)> {
    let part = File {
        content,
        kind,
        ..EXPLORER
    };
    file(warp::path("docs").and(warp::path(name)).boxed(), part)
}

fn to_slash() -> Response {
    let mut response = StatusCode::PERMANENT_REDIRECT.into_response();
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("docs/"));
    response
}

fn asset(file: SwaggerFile<'static>) -> Response {
    let bytes = match file.bytes {
        Cow::Borrowed(compiled_in) => Bytes::from_static(compiled_in),
        Cow::Owned(made) => made.into(),
    };
    let mut response = Response::new(bytes.into());
    if let Ok(kind) = HeaderValue::from_str(&file.content_type) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// It needs no token: a client with many connections that takes nothing could hold more than a megabyte by each.
    #[tokio::test]
    async fn a_large_file_is_not_copied_for_each_who_asks_for_it() {
        let config = Arc::new(Config::new([DOCUMENT]));
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let file = utoipa_swagger_ui::serve("swagger-ui-bundle.js", config.clone());
            let body = asset(file.unwrap().unwrap()).into_body();
            bodies.push(body.collect().await.unwrap().to_bytes());
        }
        assert!(bodies[0].len() > 1024 * 1024);
        assert_eq!(bodies[0].as_ptr(), bodies[1].as_ptr());
    }
}
