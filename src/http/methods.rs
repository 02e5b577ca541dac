//! The methods that a path takes. Another one is not "not my route": it is answered with 405, and with those that would do.

use warp::http::Method;
use warp::reject::{Reject, Rejection};
use warp::{Filter, reject};

/// The path is known, the method is another one. Carries what the `Allow` header has to say.
#[derive(Debug)]
pub struct OtherMethod {
    pub asked: Method,
    pub allow: &'static str,
}

impl Reject for OtherMethod {}

/// Takes GET, and HEAD, whose body hyper leaves out, of paths that have no other method.
pub fn get() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    methods(
        |method| matches!(*method, Method::GET | Method::HEAD),
        "GET, HEAD, OPTIONS",
    )
}

/// Takes POST, of paths that have no other method.
pub fn post() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    methods(|method| method == Method::POST, "POST, OPTIONS")
}

/// Takes PUT, of paths that have no other method.
pub fn put() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    methods(|method| method == Method::PUT, "PUT, OPTIONS")
}

/// Takes the methods for which `wanted` holds; `allow` lists all the methods of this path, since one path
/// can have several routes.
pub fn methods(
    wanted: fn(&Method) -> bool,
    allow: &'static str,
) -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::method()
        .and_then(move |asked: Method| async move {
            if wanted(&asked) {
                Ok(())
            } else {
                Err(reject::custom(OtherMethod { asked, allow }))
            }
        })
        .untuple_one()
}
