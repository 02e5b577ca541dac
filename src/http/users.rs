//! The users' directory, read-only: the host system owns the table.

use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

use super::call::{Call, call};
use super::extract::{self, Checked, Segment};
use super::listing::page_response;
use super::methods::get;
use super::{any_of, route};
use crate::auth::Caller;
use crate::error::Error;
use crate::limits::Holder;
use crate::model::UserId;
use crate::reply::json_response;
use crate::schema::objects;
use crate::services::Services;
use crate::store::UserFilter;
use crate::text::quoted;

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1000;
/// Of the parameter `ids`, repeats included.
const MAX_IDS: usize = 100;
pub(super) const ROLES: [&str; 4] = ["buyer", "developer", "broker", "admin"];

/// `active` and `role` come before the route that takes any segment as an id.
pub fn routes(services: &Arc<Services>) -> BoxedFilter<(Response,)> {
    let path = warp::path!("api" / "v1" / "users" / ..);
    any_of([
        route(
            path.and(warp::path!())
                .and(get())
                .and(call(services))
                .then(all),
        ),
        route(
            path.and(warp::path!("active"))
                .and(get())
                .and(call(services))
                .then(active),
        ),
        route(
            path.and(warp::path!("role" / Segment))
                .and(get())
                .and(call(services))
                .then(of_role),
        ),
        route(
            path.and(warp::path!(Segment))
                .and(get())
                .and(call(services))
                .then(one),
        ),
    ])
}

/// All users, by last name, first name and id, or only those that match `ids`, `role`, `active` and `q`.
///
/// Filters combine.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "users", operation_id = "listUsers",
    params(
        ("limit" = Option<i64>, Query, description = "items of one page", minimum = 1, maximum = 1000, example = 100),
        ("offset" = Option<i64>, Query, description = "items to skip", minimum = 0, maximum = 2147483647, example = 0),
        ("q" = Option<String>, Query, description = "any part of the full name, first or last name first, in any case; at most MAX_QUERY_BYTES (256) bytes", example = "o"),
        ("role" = Option<String>, Query, description = "only this role: any text that the users table has; at most MAX_QUERY_BYTES (256) bytes", min_length = 1, example = "broker"),
        ("active" = Option<bool>, Query, description = "true: active users only; false: the others only; left out: all", example = true),
        ("ids" = Option<Vec<Uuid>>, Query, style = Form, explode = false, min_items = 1, max_items = 100, description = "only these users; ids that nobody has are left out", example = json!(["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"])),
    ),
    responses((status = 200, description = "a page", body = objects::Users), (status = 400), (status = 429)),
)]
pub(super) async fn all(call: Call) -> Result<Response, Error> {
    let filter = extract::all((any_role(&call), call.query.choice("active")));
    let filter = filter.map(|(role, is_active)| UserFilter {
        role,
        is_active,
        query: None,
    });
    list(call, filter).await
}

/// The active users, by last name, first name and id.
#[utoipa::path(
    get, path = "/api/v1/users/active", tag = "users", operation_id = "listActiveUsers",
    params(
        ("limit" = Option<i64>, Query, description = "items of one page", minimum = 1, maximum = 1000, example = 100),
        ("offset" = Option<i64>, Query, description = "items to skip", minimum = 0, maximum = 2147483647, example = 0),
        ("q" = Option<String>, Query, description = "any part of the full name, first or last name first, in any case; at most MAX_QUERY_BYTES (256) bytes"),
        ("ids" = Option<Vec<Uuid>>, Query, style = Form, explode = false, min_items = 1, max_items = 100, description = "only these users; ids that nobody has are left out"),
    ),
    responses((status = 200, description = "a page", body = objects::Users), (status = 400), (status = 429)),
)]
pub(super) async fn active(call: Call) -> Result<Response, Error> {
    let filter = UserFilter {
        is_active: Some(true),
        ..UserFilter::default()
    };
    list(call, Ok(filter)).await
}

/// The users of one of four roles.
///
/// For any other role list all users with the parameter `role`.
#[utoipa::path(
    get, path = "/api/v1/users/role/{role}", tag = "users", operation_id = "listUsersOfRole",
    params(
        ("role" = objects::Role, Path, description = "the role", example = "broker"),
        ("limit" = Option<i64>, Query, description = "items of one page", minimum = 1, maximum = 1000, example = 100),
        ("offset" = Option<i64>, Query, description = "items to skip", minimum = 0, maximum = 2147483647, example = 0),
        ("q" = Option<String>, Query, description = "any part of the full name, first or last name first, in any case; at most MAX_QUERY_BYTES (256) bytes"),
        ("ids" = Option<Vec<Uuid>>, Query, style = Form, explode = false, min_items = 1, max_items = 100, description = "only these users; ids that nobody has are left out"),
    ),
    responses((status = 200, description = "a page", body = objects::Users), (status = 400), (status = 429)),
)]
pub(super) async fn of_role(role: Segment, call: Call) -> Result<Response, Error> {
    let filter = role
        .text("role")
        .and_then(known_role)
        .map(|role| UserFilter {
            role: Some(role),
            ..UserFilter::default()
        });
    list(call, filter).await
}

async fn list(call: Call, filter: Checked<UserFilter>) -> Result<Response, Error> {
    let caller = call.caller().await?;
    if !caller.lists_users(call.services.config.lists_users_to_users) {
        return Err(Error::DirectoryIsOff);
    }
    let page = call.query.page(DEFAULT_LIMIT, MAX_LIMIT);
    let ids = named_ids(&call, &caller);
    let (filter, page, query, ids) =
        extract::all((filter, page, call.name_query(), ids)).map_err(Error::Validation)?;
    let query = query.map(str::to_owned);
    let filter = UserFilter { query, ..filter };
    let holder = caller.holder(Holder::Anybody);
    let reads = &call.services.reads;
    let listing = match ids {
        None => {
            let store = reads.directory_turn(holder).await?;
            store.users(&filter, page).await?
        }
        // Looked up one by one, so it need not stand behind lists that read all of the host's table.
        Some(ids) => {
            let store = reads.turn(holder).await?;
            store.users_of(&ids, &filter, page).await?
        }
    };
    page_response(&call.services, holder, "users", listing)
}

/// One user.
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}", tag = "users", operation_id = "getUser",
    params(("user_id" = Uuid, Path, description = "the user", example = "11111111-1111-4111-8111-111111111111")),
    responses((status = 200, description = "the user", body = objects::User), (status = 400), (status = 404), (status = 429)),
)]
pub(super) async fn one(user: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let user = user.user(&caller).map_err(Error::Validation)?;
    let store = call.services.reads.turn(caller.holder(Holder::Anybody));
    let user = store.await?.user(user.in_directory()).await?;
    Ok(json_response(StatusCode::OK, &user))
}

/// The users of the parameter `ids`, separated by commas. Without one it names nobody, and is refused as an empty role is.
fn named_ids(call: &Call, caller: &Caller) -> Checked<Option<Vec<UserId>>> {
    let Some(text) = call.query.text("ids")? else {
        return Ok(None);
    };
    let count = match text {
        "" => 0,
        text => text.split(',').count(),
    };
    if !(1..=MAX_IDS).contains(&count) {
        return Err(vec![format!(
            "ids must be 1 to {MAX_IDS} ids, separated by commas, not {count}"
        )]);
    }
    text.split(',')
        .map(|id| {
            let user = extract::named_user("each of ids", id, caller);
            user.map(|user| user.in_directory())
        })
        .collect::<Checked<Vec<_>>>()
        .map(Some)
}

/// The `role` that filters: whatever the host has. An empty one is no role, and is refused: it may be a value that somebody has forgotten.
fn any_role(call: &Call) -> Checked<Option<String>> {
    let longest = call.services.config.limits.query_bytes;
    match call.query.text("role")? {
        Some(role) if role.is_empty() || role.len() > longest => {
            Err(vec![format!("role must be 1 to {longest} bytes")])
        }
        role => Ok(role.map(str::to_owned)),
    }
}

/// The roles of the Go service, by which it had a route.
fn known_role(role: String) -> Checked<String> {
    match ROLES.contains(&role.as_str()) {
        true => Ok(role),
        false => Err(vec![format!(
            "role must be one of {}, not {}",
            ROLES.join(", "),
            quoted(&role)
        )]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_role_is_refused_with_the_four_that_exist() {
        for role in ROLES {
            assert_eq!(known_role(role.to_owned()), Ok(role.to_owned()));
        }
        let fault = known_role("Buyer".to_owned()).unwrap_err();
        assert_eq!(
            fault,
            ["role must be one of buyer, developer, broker, admin, not \"Buyer\""]
        );
    }
}
