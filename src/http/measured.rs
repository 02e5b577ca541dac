//! How long each route takes, under a name that has no values in it.

use std::time::Instant;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::Method;
use warp::path::FullPath;
use warp::reply::Response;

use super::docs::openapi;
use crate::metrics::Requests;

/// Routes that stand in no OpenAPI document.
const OTHER_ROUTES: [&str; 4] = ["/", "/ws", "/openapi.json", "/asyncapi.json"];

/// Each is one route, whatever is asked for below it.
const FOLDERS: [&str; 3] = ["/docs", "/page", "/client"];

/// What a request is counted under that no route takes.
const UNKNOWN: &str = "other";

/// `table`, with each of its answers counted and timed.
pub fn measured(table: BoxedFilter<(Response,)>, requests: Requests) -> BoxedFilter<(Response,)> {
    // Made once for the life of the process; labels are 'static so that counting copies no text.
    let names: &'static RouteNames = Box::leak(Box::new(RouteNames::of_all_routes()));
    warp::any()
        .map(Instant::now)
        .and(warp::method())
        .and(warp::path::full())
        .and(table)
        .map(
            move |started: Instant, method: Method, path: FullPath, response: Response| {
                let status = response.status().as_u16();
                let route = names.of(path.as_str());
                requests.answered(method.as_str(), route, status, started.elapsed());
                response
            },
        )
        .boxed()
}

/// The paths of all routes, by their segments; `{…}` stands for any.
struct RouteNames(Vec<(Vec<String>, &'static str)>);

impl RouteNames {
    fn of_all_routes() -> Self {
        let documented = openapi::paths();
        let all = documented
            .into_iter()
            .chain(OTHER_ROUTES.map(str::to_owned));
        let mut names: Vec<(Vec<String>, &'static str)> = all
            .map(|path| (segments(&path).map(str::to_owned).collect(), &*path.leak()))
            .collect();
        // `/users/active` before `/users/{user_id}`.
        names.sort_by_key(|(_, path)| path.matches('{').count());
        Self(names)
    }

    fn of(&self, path: &str) -> &'static str {
        let below = |folder: &str| {
            let rest = path.strip_prefix(folder);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if let Some(folder) = FOLDERS.into_iter().find(|folder| below(folder)) {
            return folder;
        }
        self.0
            .iter()
            .find(|(wanted, _)| {
                segments(path).count() == wanted.len()
                    && segments(path).zip(wanted).all(|(found, wanted)| {
                        found == wanted || wanted.starts_with('{') && !found.is_empty()
                    })
            })
            .map_or(UNKNOWN, |(_, name)| name)
    }
}

/// A trailing slash makes no other route.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_counted_under_its_route_and_never_under_its_values() {
        let names = RouteNames::of_all_routes();
        for (path, name) in [
            ("/", "/"),
            ("/ws", "/ws"),
            ("/docs/swagger-ui.css", "/docs"),
            ("/docs", "/docs"),
            ("/page/app.js", "/page"),
            ("/client/pgchat.js", "/client"),
            ("/client/conversation.js", "/client"),
            ("/pages", UNKNOWN),
            ("/health/", "/health"),
            ("/api/v1/users", "/api/v1/users"),
            ("/api/v1/users/", "/api/v1/users"),
            ("/api/v1/users/active", "/api/v1/users/active"),
            ("/api/v1/users/abc", "/api/v1/users/{user_id}"),
            ("/api/v1/users/role/x", "/api/v1/users/role/{role}"),
            (
                "/api/v1/chat/conversations/1/messages",
                "/api/v1/chat/conversations/{conversation_id}/messages",
            ),
            (
                "/api/v1/chat/users/1/conversations",
                "/api/v1/chat/users/{user_id}/conversations",
            ),
            ("/api/v1/users//", UNKNOWN),
            ("/api/v2/users", UNKNOWN),
            ("/nothing", UNKNOWN),
        ] {
            assert_eq!(names.of(path), name, "{path}");
        }
    }
}
