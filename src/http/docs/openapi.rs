//! The OpenAPI document: the handlers' own annotations, joined, with what all routes have in common added.

use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, KnownFormat, ObjectBuilder, Ref, RefOr, Required, Response,
    Schema, SchemaFormat, Type,
};
use utoipa::{Modify, OpenApi};

use super::pin_times;
use super::refusals::{self, Refusal};
use crate::config::AuthMode;
use crate::http::{conversations, events, messages, probes, search, tickets, users};
use crate::reply::ErrorBody;
use crate::schema::objects::{self, ID_OR_ME};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "pgchat",
        description = "A chat service for conversations between two people. The live side is the WebSocket at `/ws`, which \
            [asyncapi.json](../asyncapi.json) describes. Ignore unknown members of answers: later versions may add some. A parameter of \
            several words or a member of a body that is spelt otherwise than here (`upToSeq`, `client_message_id`) is refused, and so is one \
            that is given twice; other unknown ones are ignored. Times are in UTC, \
            always with six digits of a second and Z: compare them as text, since a date type of milliseconds loses their order.",
    ),
    // From the document on: a proxy may serve all of it below a path.
    servers((url = "./", description = "this replica")),
    tags(
        (name = "conversations", description = "Conversations of two users, and unread counts"),
        (name = "messages", description = "The history of a conversation, sending, editing, deleting"),
        (name = "events", description = "What a user has missed since a cursor, for callers without a socket"),
        (name = "users", description = "Your application's users, read-only"),
        (name = "tickets", description = "One-time tickets, with which a browser opens its socket"),
        (name = "operation", description = "Probes and metrics"),
    ),
    paths(
        conversations::list, conversations::list_by_old_path, conversations::one, conversations::open, conversations::mark_read, conversations::unread_count,
        messages::send, messages::list, messages::one, messages::edit, messages::delete, search::search, events::events,
        users::all, users::active, users::of_role, users::one,
        tickets::issue,
        probes::health, probes::live, probes::ready, probes::metrics,
    ),
    components(schemas(ErrorBody<'_>, objects::Role)),
    modifiers(&Common),
)]
struct Api;

/// The document as a service of this mode serves it: what a token may stand for in one must be said in the other.
pub fn document(mode: AuthMode) -> Value {
    let mut api = Api::openapi();
    if mode == AuthMode::Trusted {
        for (method, operation) in api.paths.paths.values_mut().flat_map(operations) {
            operation.security = None;
            // What reads may name whose eyes see it, and need not.
            if method != HttpMethod::Get {
                require_user(operation);
            }
        }
    }
    // A document that could not be serialised would be an empty one, which the tests see.
    let mut document = serde_json::to_value(api).unwrap_or_default();
    if mode == AuthMode::Jwt {
        allow_own_user(&mut document);
        allow_me(&mut document);
    }
    exclude_nul(&mut document);
    pin_times(&mut document);
    document
}

/// Members of bodies that name a user: the token's where they are left out.
/// Not `user2Id`, which may be the token's user only where `user1Id` names the other one: that a schema cannot say.
const USERS_IN_BODIES: [(&str, &str); 2] =
    [("SendMessage", "senderId"), ("OpenConversation", "user1Id")];

/// Where a token says who acts, a body need not: without the member, with null, or with `me`.
fn allow_own_user(document: &mut Value) {
    for (schema, member) in USERS_IN_BODIES {
        let schema = &mut document["components"]["schemas"][schema];
        schema["properties"][member] = json!({"type": ["string", "null"], "pattern": ID_OR_ME, "description": own_user_described(true)});
        if let Value::Array(required) = &mut schema["required"] {
            required.retain(|name| name != member);
        }
    }
}

fn own_user_described(is_default: bool) -> &'static str {
    match is_default {
        true => "an id, or me: the token's user, who is also meant where this is left out",
        false => "an id, or me: the token's user",
    }
}

/// In jwt mode a parameter `user_id` or `with` may be `me`, and so may each of `ids`.
fn allow_me(document: &mut Value) {
    for parameter in parameters(document) {
        let is_default = parameter["in"] == "query" && parameter["name"] == "user_id";
        if parameter["name"] == "user_id" || parameter["name"] == "with" {
            let described = own_user_described(is_default);
            parameter["schema"] =
                json!({"type": "string", "pattern": ID_OR_ME, "description": described});
        }
        if parameter["name"] == "ids" {
            let described = own_user_described(false);
            parameter["schema"]["items"] =
                json!({"type": "string", "pattern": ID_OR_ME, "description": described});
        }
    }
}

/// No query names U+0000, whatever else may be in a text.
fn exclude_nul(document: &mut Value) {
    for parameter in parameters(document) {
        let is_text = ["q", "role"].iter().any(|name| parameter["name"] == *name);
        if is_text && parameter["in"] == "query" {
            parameter["schema"]["pattern"] = json!("^[^\\u0000]*$");
        }
    }
}

/// Of all operations.
fn parameters(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let operations = paths.flat_map(|(_, item)| item.as_object_mut().into_iter().flatten());
    // By `get_mut`: an index would give an operation that has none a null.
    let parameters = operations.filter_map(|(_, operation)| operation.get_mut("parameters"));
    parameters.filter_map(Value::as_array_mut).flatten()
}

/// Where no token says who calls, the request does.
fn require_user(operation: &mut Operation) {
    let parameters = operation.parameters.iter_mut().flatten();
    for parameter in parameters {
        if let RefOr::T(parameter) = parameter
            && parameter.name == "user_id"
        {
            parameter.required = Required::True;
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    let PathItem {
        get,
        post,
        put,
        patch,
        delete,
        ..
    } = item;
    let all = [
        (HttpMethod::Get, get),
        (HttpMethod::Post, post),
        (HttpMethod::Put, put),
        (HttpMethod::Patch, patch),
        (HttpMethod::Delete, delete),
    ];
    let all = all.into_iter();
    all.filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// The paths of the document, with the names of their parameters in braces.
pub fn paths() -> Vec<String> {
    Api::openapi().paths.paths.into_keys().collect()
}

/// What all routes have in common: errors, `x-request-id`, the way to authenticate.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .description(Some(
                    "A user's token or a service token, in jwt mode. Trusted mode needs none.",
                ))
                .build(),
        );
        api.components
            .get_or_insert_default()
            .add_security_scheme("bearer", bearer);
        for (path, item) in &mut api.paths.paths {
            for (method, operation) in operations(item) {
                if path.starts_with("/api/") {
                    add_common_errors(operation);
                }
                complete(path, &method, operation);
                // A description may have marks, a summary is shown as it stands.
                operation.summary = operation.summary.take().map(|text| text.replace('`', ""));
            }
        }
    }
}

/// The errors that any route of the API can answer with, and those of routes with a body.
fn add_common_errors(operation: &mut Operation) {
    let mut common = vec!["401", "403", "404", "500", "503"];
    if operation.request_body.is_some() {
        common.extend(["408", "413", "415"]);
    }
    for status in common {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| RefOr::T(Response::new("")));
    }
    operation.security = Some(vec![SecurityRequirement::new("bearer", [] as [&str; 0])]);
}

/// Headers on all responses; shape, words and examples on the errors.
fn complete(path: &str, method: &HttpMethod, operation: &mut Operation) {
    let statuses: Vec<String> = operation.responses.responses.keys().cloned().collect();
    let refused: Vec<Vec<Refusal>> = statuses
        .iter()
        .map(|status| refusals::of(path, method, operation, status))
        .collect();
    for ((status, response), refusals) in operation.responses.responses.iter_mut().zip(refused) {
        let RefOr::T(response) = response else {
            continue;
        };
        let text = ObjectBuilder::new().schema_type(Type::String);
        let id = HeaderBuilder::new()
            .schema(Some(text))
            .description(Some("the caller's, or a new one"))
            .build();
        response
            .headers
            .insert("x-request-id".to_owned(), RefOr::T(id));
        let Some(meaning) = refusals::meaning(status).filter(|_| response.content.is_empty())
        else {
            continue;
        };
        if response.description.is_empty() {
            response.description = meaning.to_owned();
        }
        if matches!(status.as_str(), "429" | "503") {
            let seconds = ObjectBuilder::new()
                .schema_type(Type::Integer)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
                .minimum(Some(1));
            let wait = HeaderBuilder::new()
                .schema(Some(seconds))
                .description(Some("seconds to wait before trying again"))
                .build();
            response
                .headers
                .insert("retry-after".to_owned(), RefOr::T(wait));
        }
        let examples = refusals.into_iter().map(|refusal| {
            let example = ExampleBuilder::new()
                .summary(refusal.summary)
                .value(serde_json::to_value(ErrorBody::of(&refusal.error)).ok())
                .build();
            (refusal.name, example)
        });
        let content = ContentBuilder::new()
            .schema(Some(RefOr::<Schema>::Ref(Ref::from_schema_name("Error"))))
            .examples_from_iter(examples)
            .build();
        response
            .content
            .insert("application/json".to_owned(), RefOr::T(content));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each `user_id` of a query must be there, of what reads or of what does not.
    fn users_of_queries_are_required(document: &Value, reads: bool) -> Vec<bool> {
        let paths = document["paths"].as_object().expect("paths");
        let operations = paths.values().flat_map(|item| item.as_object());
        operations
            .flatten()
            .filter(|(method, _)| (*method == "get") == reads)
            .flat_map(|(_, operation)| operation["parameters"].as_array().into_iter().flatten())
            .filter(|parameter| parameter["name"] == "user_id" && parameter["in"] == "query")
            .map(|parameter| parameter["required"] == true)
            .collect()
    }

    /// Whether each `user_id` of a query that changes something, `senderId`, and `user1Id` must be there; whom one opens a conversation
    /// with must be.
    fn users_are_required(document: &Value) -> Vec<bool> {
        let in_queries = users_of_queries_are_required(document, false).into_iter();
        let is_required = |(schema, member): (&str, &str)| {
            let required = document["components"]["schemas"][schema]["required"].as_array();
            let required = required.expect("required members");
            required.contains(&Value::from(member))
        };
        assert!(is_required(("OpenConversation", "user2Id")));
        in_queries.chain(USERS_IN_BODIES.map(is_required)).collect()
    }

    #[test]
    fn who_calls_must_be_said_where_no_token_says_it() {
        let trusted = document(AuthMode::Trusted);
        assert_eq!(users_are_required(&trusted), [true; 6]);
        assert!(!trusted["paths"].to_string().contains("\"security\""));
        let jwt = document(AuthMode::Jwt);
        assert_eq!(users_are_required(&jwt), [false; 6]);
        for document in [&trusted, &jwt] {
            assert_eq!(users_of_queries_are_required(document, true), [false; 2]);
        }
        let user = |document: &Value| {
            let unread =
                "/paths/~1api~1v1~1chat~1users~1{user_id}~1unread-count/get/parameters/0/schema";
            document.pointer(unread).expect("its schema").to_string()
        };
        assert!(user(&jwt).contains("(me|") && !user(&trusted).contains("(me|"));
        let open = &jwt["paths"]["/api/v1/chat/conversations"]["post"]["security"];
        assert_eq!(open, &serde_json::json!([{"bearer": []}]));
        let probe = &jwt["paths"]["/health"]["get"]["security"];
        assert_eq!(probe, &serde_json::json!([{}]));
    }
}
