//! `GET /client/pgchat.js`: the browser client, for pages of any origin. It needs no token and holds no secret; what it may
//! then ask of the service is `ALLOWED_ORIGINS`' to say.

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::any_of;
use super::files::{File, SCRIPT, file};

/// A module is fetched by the rules of CORS (HTML standard, "fetch a module script").
const HEADERS: &[(&str, &str)] = &[
    ("access-control-allow-origin", "*"),
    ("cross-origin-resource-policy", "cross-origin"),
];

pub fn routes() -> BoxedFilter<(Response,)> {
    let script = File {
        content: include_str!("../../clients/js/pgchat.js"),
        kind: SCRIPT,
        headers: HEADERS,
    };
    let types = File {
        content: include_str!("../../clients/js/pgchat.d.ts"),
        ..script
    };
    any_of([
        file(warp::path!("client" / "pgchat.js" / ..).boxed(), script),
        file(warp::path!("client" / "pgchat.d.ts" / ..).boxed(), types),
    ])
}
