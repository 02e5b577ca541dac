//! What every handler gets: the query, who calls, and the services that answer.

use std::convert::Infallible;
use std::sync::Arc;

use warp::Filter;
use warp::http::HeaderMap;
use warp::http::header::ACCEPT;

use super::extract::{Checked, Query, named_user};
use crate::auth::{Caller, NamedUser};
use crate::error::Error;
use crate::header_list;
use crate::services::Services;

/// A request without the path's ids and the body, which a handler gets beside it.
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
            Some(text) => named_user("user_id", text, caller),
            None => own_user(caller, "user_id"),
        }
    }

    /// The user of a parameter that need not be there.
    pub fn optional_user(&self, name: &str, caller: &Caller) -> Checked<Option<NamedUser>> {
        let named = self.query.text(name)?;
        named.map(|text| named_user(name, text, caller)).transpose()
    }

    /// The `q`, which is at most `MAX_QUERY_BYTES` long.
    pub fn search_text(&self) -> Checked<Option<&str>> {
        let longest = self.services.config.limits.query_bytes;
        match self.query.text("q")? {
            Some(q) if q.len() > longest => Err(vec![format!("q must be at most {longest} bytes")]),
            q => Ok(q),
        }
    }

    /// The `q` that filters by name; an empty one filters nothing, so that a search box can send what it holds.
    pub fn name_query(&self) -> Checked<Option<&str>> {
        let q = self.search_text()?.map(str::trim);
        Ok(q.filter(|q| !q.is_empty()))
    }

    /// Whether `Accept` names this media type; a range such as `*/*` does not.
    pub fn accepts_by_name(&self, media_type: &str) -> bool {
        let named = |range: &str| {
            let name = range.split(';').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case(media_type)
        };
        header_list::members(&self.headers, ACCEPT).any(named)
    }
}

/// The caller's own user, in place of a field or parameter that was left out.
pub fn own_user(caller: &Caller, name: &str) -> Checked<NamedUser> {
    caller
        .own_user()
        .ok_or_else(|| vec![format!("{name} is required")])
}

/// Makes the [`Call`] of each request; never rejects.
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
