//! `GET /client/…`: the browser client and the list of one conversation on top of it, for pages of any origin. They need no
//! token and hold no secret; what they may then ask of the service is `ALLOWED_ORIGINS`' to say.

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::any_of;
use super::files::{File, SCRIPT, TYPES, file};

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../clients/js/", $name)))),*]
    };
}

/// Below `/client/`, by name.
const FILES: &[(&str, &str)] = files! {
    "pgchat.js" "pgchat.d.ts" "conversation.js" "conversation.d.ts"
};

/// A module is fetched by the rules of CORS (HTML standard, "fetch a module script").
const HEADERS: &[(&str, &str)] = &[
    ("access-control-allow-origin", "*"),
    ("cross-origin-resource-policy", "cross-origin"),
];

pub fn routes() -> BoxedFilter<(Response,)> {
    any_of(FILES.iter().map(|&(name, content)| {
        let part = File {
            content,
            kind: if name.ends_with(".ts") { TYPES } else { SCRIPT },
            headers: HEADERS,
        };
        file(warp::path("client").and(warp::path(name)).boxed(), part)
    }))
}
