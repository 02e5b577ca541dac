//! `GET /`: the chat page, for trying the service out and for seeing what it does. It needs no token: it asks its user for one
//! where the service does. Its files are compiled in and lie under `/page/`; `WEB_PAGE=off` leaves all of it out. What it may load is
//! said in [`super::security`].

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::any_of;
use super::files::{CSS, File, HTML, SCRIPT, SVG, file};

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../web/", $name)))),*]
    };
}

/// Below `/page/`, by name.
const FILES: &[(&str, &str)] = files! {
    "icon.svg"
    "tokens.css" "base.css" "shell.css" "list.css" "thread.css" "tools.css"
    "app.js" "pane.js" "banner.js" "dialogs.js" "sign_in.js" "model.js" "timeline.js" "list.js" "search.js" "announcer.js" "attention.js"
    "thread.js" "thread_head.js" "message_window.js" "message_list.js" "message.js" "scroll_position.js" "reading.js" "edges.js" "jump.js"
    "composer.js" "drafts.js" "draw.js" "failure.js" "found.js" "frames.js" "insert.js" "latency.js" "listing.js" "marks.js" "notice.js" "outbox.js" "replica.js"
    "dom.js" "time.js" "turn.js" "typing.js" "unread_filter.js" "viewport.js"
};

/// Nothing where the page is turned off: its paths are then as unknown as any other.
pub fn routes(enabled: bool) -> BoxedFilter<(Response,)> {
    if !enabled {
        return any_of([]);
    }
    let page = File {
        content: include_str!("../../web/index.html"),
        kind: HTML,
        headers: &[],
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
