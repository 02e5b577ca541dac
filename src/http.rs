//! The HTTP routes: one file a resource, its routes beside its handlers.
//!
//! Handlers are `async fn(…) -> Result<Response, Error>` and always answer. A warp rejection means "not my
//! route", so what is left for [`unmatched`] are the requests that no route took. Every route is boxed:
//! the type of a long unboxed chain takes the compiler minutes.

mod body;
mod call;
mod client;
mod conversations;
mod cors;
pub mod docs;
mod events;
mod extract;
mod fields;
mod files;
mod listing;
mod measured;
mod messages;
mod methods;
mod page;
mod probes;
mod search;
pub mod security;
mod tickets;
mod users;

use std::convert::Infallible;
use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::http::header::ALLOW;
use warp::http::{HeaderValue, Method, StatusCode};
use warp::path::FullPath;
use warp::reject::{Reject, Rejection};
use warp::reply::Response;
use warp::{Filter, Reply, reject};

use self::measured::measured;
use self::methods::OtherMethod;
use self::security::secured;
use crate::error::{Error, Resource};
use crate::reply::error_response;
use crate::services::Services;
use crate::text::quoted;

/// What requests are answered by.
#[derive(Clone)]
pub struct Routes {
    pub all: BoxedFilter<(Response,)>,
    /// On a connection over the limit, which has one request: how the replica is, what a browser asks before a request of a page, and a 503
    /// for everything else, which these routes count as refused.
    pub without_room: BoxedFilter<(Response,)>,
}

/// All routes of the service; `ws` is the WebSocket handshake.
pub fn routes(services: Services, ws: BoxedFilter<(Response,)>) -> Routes {
    let all = with_room(services.clone(), ws);
    Routes {
        without_room: without_room(&services, all.clone()),
        all,
    }
}

/// Never rejects: a request that nothing here takes is answered as well.
fn with_room(services: Services, ws: BoxedFilter<(Response,)>) -> BoxedFilter<(Response,)> {
    let requests = services.metrics.requests.clone();
    let services = Arc::new(services);
    let table = any_of([
        messages::routes(&services),
        conversations::routes(&services),
        users::routes(&services),
        search::routes(&services),
        events::routes(&services),
        ws,
        tickets::routes(&services),
        probes::routes(&services),
        page::routes(services.config.web_page),
        client::routes(),
        docs::routes(services.config.auth.mode),
    ]);
    let answers = measured(answered(table), requests);
    secured(cors::cors(answers, Arc::clone(&services.config)))
}

/// What is left of `all` routes on a connection over the limit: what says that the replica lives, how it is, and its figures; and what a
/// browser asks before a request of a page, which else could not read its refusal. Whatever else it asks for gets a 503 and is counted as
/// refused; so does `/health/ready`, since there is no room here for what a load balancer would send.
fn without_room(services: &Services, all: BoxedFilter<(Response,)>) -> BoxedFilter<(Response,)> {
    let connections = services.metrics.connections.clone();
    let refused = move || {
        connections.refused();
        error_response(&Error::unavailable("too many connections"))
    };
    let refused = warp::any().map(refused).boxed();
    let told = probes::without_room(&Arc::new(services.clone()));
    // No route does more for one than to name its methods.
    let preflights = cors::preflight().and(all).boxed();
    let answers = any_of([told, preflights, refused]);
    secured(cors::cors(answers, Arc::clone(&services.config)))
}

/// A finished route: its filters and its handler, as one boxed filter that answers.
fn route<F, R>(filter: F) -> BoxedFilter<(Response,)>
where
    F: Filter<Extract = (R,), Error = Rejection> + Send + Sync + 'static,
    R: Reply + 'static,
{
    filter.map(R::into_response).boxed()
}

/// The first of `routes` that takes the request.
fn any_of(routes: impl IntoIterator<Item = BoxedFilter<(Response,)>>) -> BoxedFilter<(Response,)> {
    let nothing = warp::any()
        .and_then(|| async { Err::<Response, _>(reject::not_found()) })
        .boxed();
    routes
        .into_iter()
        .reduce(|first, second| first.or(second).unify().boxed())
        .unwrap_or(nothing)
}

/// `table`, and an answer to whatever it rejects.
fn answered(table: BoxedFilter<(Response,)>) -> BoxedFilter<(Response,)> {
    // Rejections carry no path, and a 404 should name it. This one is found only if no other was.
    let unknown = warp::method()
        .and(warp::path::full())
        .and_then(|method, path| async {
            Err::<Response, _>(reject::custom(NoRoute(method, path)))
        });
    table.or(unknown).unify().recover(unmatched).unify().boxed()
}

/// No route has this path.
#[derive(Debug)]
struct NoRoute(Method, FullPath);

impl Reject for NoRoute {}

/// Answers a request that no route took: 405 with `Allow` where the path is known, 204 if it asked
/// for just that by OPTIONS, else 404.
async fn unmatched(rejection: Rejection) -> Result<Response, Infallible> {
    Ok(
        if let Some(OtherMethod { asked, allow }) = rejection.find() {
            let mut response = match *asked {
                Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
                _ => error_response(&Error::MethodNotAllowed),
            };
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allow));
            response
        } else if rejection.find::<reject::MethodNotAllowed>().is_some() {
            error_response(&Error::MethodNotAllowed)
        } else if let Some(NoRoute(method, path)) = rejection.find() {
            let route = format!("{method} {}", quoted(path.as_str()));
            error_response(&Error::not_found(Resource::Route, route))
        } else {
            // A filter that can fail otherwise should answer by itself; this says which one didn't.
            error_response(&Error::Internal(
                format!("unanswered: {rejection:?}").into(),
            ))
        },
    )
}

#[cfg(test)]
mod tests;
