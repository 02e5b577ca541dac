//! From a request's path to values that are checked. Nothing here rejects: a rejection means
//! "not my route", while a bad value is an [`Error`] of the route that was found.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;

use warp::http::header::ACCEPT;
use warp::http::{HeaderMap, Method};
use warp::reject::{Reject, Rejection};
use warp::{Filter, reject};

use crate::auth::{Caller, NamedUser};
use crate::error::Error;
use crate::query_string::percent_decoded;
use crate::services::Services;

pub use crate::query_string::{Checked, Query, both, id};

/// The token's user, in place of an id in a path.
pub const ME: &str = "me";

/// One segment of the path, as sent. Which route matches never depends on its content.
pub struct Segment(String);

impl FromStr for Segment {
    type Err = Infallible;

    fn from_str(raw: &str) -> Result<Self, Infallible> {
        Ok(Self(raw.to_owned()))
    }
}

impl Segment {
    /// The segment as an id; `name` is what the fault calls it.
    pub fn id<T: FromStr>(&self, name: &str) -> Checked<T> {
        id(name, &self.text(name)?)
    }

    /// The segment as the user whom the path names; [`ME`] is the caller's own.
    pub fn user(&self, caller: &Caller) -> Checked<NamedUser> {
        match self.text("user_id")?.as_str() {
            ME => caller
                .own_user()
                .ok_or_else(|| vec!["user_id can be me only with a user's token".to_owned()]),
            text => id("user_id", text),
        }
    }

    pub fn text(&self, name: &str) -> Checked<String> {
        percent_decoded(self.0.as_bytes()).map_err(|fault| vec![format!("{name} {fault}")])
    }
}

/// What every handler gets, besides the path's ids and the body.
pub struct Call {
    pub services: Arc<Services>,
    pub query: Query,
    headers: HeaderMap,
}

impl Call {
    /// Who calls. Every handler asks, even one that acts for nobody: that is what refuses bad credentials.
    pub async fn caller(&self) -> Result<Caller, Error> {
        self.services.auth.caller(&self.headers).await
    }

    /// The user of the parameter `user_id`, or the caller's own where it is left out.
    pub fn user_id(&self, caller: &Caller) -> Checked<NamedUser> {
        match self.query.text("user_id")? {
            Some(text) => id("user_id", text),
            None => own_user(caller, "user_id"),
        }
    }

    /// Whether `Accept` names this media type; a range such as `*/*` does not.
    pub fn accepts_by_name(&self, media_type: &str) -> bool {
        let named = |range: &str| {
            let name = range.split(';').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case(media_type)
        };
        let values = self.headers.get_all(ACCEPT).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(named))
    }
}

/// The caller's own user, in place of a field or parameter that was left out.
pub fn own_user(caller: &Caller, name: &str) -> Checked<NamedUser> {
    caller
        .own_user()
        .ok_or_else(|| vec![format!("{name} is required")])
}

pub fn call(
    services: &Arc<Services>,
) -> impl Filter<Extract = (Call,), Error = Infallible> + Clone + Send + Sync + 'static {
    let services = services.clone();
    warp::query::raw()
        .or(warp::any().map(String::new))
        .unify()
        .and(warp::header::headers_cloned())
        .map(move |query: String, headers| Call {
            services: services.clone(),
            query: Query::parse(&query),
            headers,
        })
}

/// The path is known, the method is another one. Carries what the `Allow` header has to say.
#[derive(Debug)]
pub struct OtherMethod {
    pub asked: Method,
    pub allow: &'static str,
}

impl Reject for OtherMethod {}

/// Takes GET, and HEAD, whose body hyper leaves out. For paths that have no other method.
pub fn get() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    methods(
        |method| matches!(*method, Method::GET | Method::HEAD),
        "GET, HEAD, OPTIONS",
    )
}

pub fn post() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    methods(|method| method == Method::POST, "POST, OPTIONS")
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198d9f0-0000-7000-8000-000000000001";

    fn segment(raw: &str) -> Segment {
        raw.parse().unwrap()
    }

    #[test]
    fn ids_in_the_path_must_be_uuids() {
        assert!(segment(ID).id::<NamedUser>("user_id").is_ok());
        assert!(
            segment(&ID.to_uppercase())
                .id::<NamedUser>("user_id")
                .is_ok()
        );
        assert!(
            segment(&ID.replace('-', "%2D"))
                .id::<NamedUser>("user_id")
                .is_ok()
        );
        for wrong in ["abc", "%ff", "%", "0198d9f0-0000-7000-8000-00000000000g"] {
            let faults = segment(wrong).id::<NamedUser>("user_id").unwrap_err();
            assert!(faults[0].starts_with("user_id "), "{faults:?}");
        }
    }
}
