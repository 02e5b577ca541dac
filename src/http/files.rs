//! Files that are compiled in. A browser asks each time whether the one that it has is still right, and is told so in a few
//! bytes: no page runs with an old script that the browser still has. Behind a balancer with replicas of two versions a
//! page of one may get a script of the other, as long as both run; a reload after that mends it.

use std::hash::{DefaultHasher, Hash, Hasher};

use warp::filters::BoxedFilter;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use warp::http::{HeaderMap, HeaderValue, StatusCode};
use warp::reply::Response;
use warp::{Filter, Reply};

use super::methods::get;
use crate::header_list;

/// One file, as it is served.
#[derive(Clone, Copy)]
pub struct File {
    pub content: &'static str,
    /// The value of `content-type`.
    pub kind: &'static str,
    /// Besides those that all files have; names in lower case.
    pub headers: &'static [(&'static str, &'static str)],
}

pub const HTML: &str = "text/html; charset=utf-8";
pub const CSS: &str = "text/css; charset=utf-8";
pub const SVG: &str = "image/svg+xml";
pub const SCRIPT: &str = "text/javascript; charset=utf-8";
/// Types of TypeScript. None is registered; by the ending `.ts` it would be a video (`video/mp2t`).
pub const TYPES: &str = "application/typescript; charset=utf-8";

/// `file` at a path that `path` matches to its end.
pub fn file(path: BoxedFilter<()>, file: File) -> BoxedFilter<(Response,)> {
    let etag = etag(file.content);
    path.and(warp::path::end())
        .and(get())
        .and(warp::header::headers_cloned())
        .map(move |request: HeaderMap| answer(file, &etag, &request))
        .boxed()
}

fn answer(file: File, etag: &HeaderValue, request: &HeaderMap) -> Response {
    let mut response = if has(request, etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(file.content.into());
        let kind = HeaderValue::from_static(file.kind);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, etag.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, value) in file.headers {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    response
}

/// Whether the caller has this very content (RFC 9110 section 13.1.2; proxies that compress make a tag weak).
fn has(request: &HeaderMap, etag: &HeaderValue) -> bool {
    header_list::members(request, IF_NONE_MATCH)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag)
}

/// A hash of the content, which every replica of one build finds. Another build may hash differently, which costs one download.
fn etag(content: &str) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    // Hexadecimal digits in quotes are a valid header value.
    HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish()))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(tags: &'static [&'static str]) -> HeaderMap {
        tags.iter()
            .map(|tag| (IF_NONE_MATCH, HeaderValue::from_static(tag)))
            .collect()
    }

    #[test]
    fn a_caller_that_has_the_content_is_told_so() {
        let tag = HeaderValue::from_static("\"1\"");
        for yes in [
            &["\"1\""] as &[_],
            &["W/\"1\""],
            &["\"0\", \"1\""],
            &["\"0\"", "\"1\""],
            &["*"],
        ] {
            assert!(has(&request(yes), &tag), "{yes:?}");
        }
        for no in [&[] as &[_], &["\"2\""], &["1"], &["\"1"]] {
            assert!(!has(&request(no), &tag), "{no:?}");
        }
    }

    #[test]
    fn other_content_has_another_tag() {
        assert_ne!(etag("one"), etag("two"));
        assert_eq!(etag("one"), etag("one"));
    }
}
