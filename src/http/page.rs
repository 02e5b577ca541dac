//! `GET /`: the chat page, for trying the service out and for seeing what it does. It needs no token: it asks its user for one
//! where the service does. Its files are compiled in and lie under `/page/`; `WEB_PAGE=off` leaves all of it out.

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::any_of;
use super::files::{CSS, File, HTML, SCRIPT, SVG, file};

/// The page's own scripts and styles, no inline ones, and no text that becomes markup (`require-trusted-types-for`). It
/// speaks to where it came from, and to replicas on the same machine: its second pane goes to another one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self' http://127.0.0.1:* ws://127.0.0.1:* http://localhost:* ws://localhost:*; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: &[(&str, &str)] = &[("content-security-policy", POLICY)];

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../web/", $name)))),*]
    };
}

/// Below `/page/`, by name.
const FILES: &[(&str, &str)] = files! {
    "icon.svg"
    "tokens.css" "base.css" "shell.css" "list.css" "thread.css" "tools.css"
    "app.js" "pane.js" "sign_in.js" "model.js" "timeline.js" "list.js" "search.js" "thread.js" "message.js" "composer.js"
    "frames.js" "insert.js" "replica.js" "dom.js" "time.js"
};

/// Nothing where the page is turned off: its paths are then as unknown as any other.
pub fn routes(enabled: bool) -> BoxedFilter<(Response,)> {
    if !enabled {
        return any_of([]);
    }
    let page = File {
        content: include_str!("../../web/index.html"),
        kind: HTML,
        headers: HEADERS,
    };
    let parts = FILES.iter().map(|&(name, content)| {
        let part = File {
            content,
            kind: kind(name),
            ..page
        };
        file(warp::path("page").and(warp::path(name)).boxed(), part)
    });
    any_of(std::iter::once(file(warp::any().boxed(), page)).chain(parts))
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "css")) => CSS,
        Some((_, "svg")) => SVG,
        _ => SCRIPT,
    }
}
