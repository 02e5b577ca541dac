//! The AsyncAPI document of the socket, made from the table of frames.

use serde_json::{Map, Value, json};
use utoipa::openapi::RefOr;

use super::pin_times;
use crate::config::AuthMode;
use crate::schema::close_codes::CLOSE_CODES;
use crate::schema::frames::{CursorUse, FrameKind, from_client, from_server};
use crate::schema::objects::ID_OR_ME;
use crate::schema::request_name::RequestName;

const ORDER_OF_COMMANDS: &str = "send_message and mark_read in one conversation are carried out and answered in \
    order; so are edits and deletions of one message, and typing in one conversation. A send_message also comes after the typing \
    before it. Of other commands a later one may be done first.";

/// The document as a service of this mode serves it (AsyncAPI 3.0). `send` is what the server sends.
pub fn document(mode: AuthMode) -> Value {
    let mut query = json!({
        "type": "object",
        "properties": {
            "user_id": {"type": "string", "format": "uuid", "description": "whose socket"},
            "cursor": {"type": "string", "description": "the last one seen: what was missed since comes first"},
            "ticket": {"type": "string", "description": "opens one socket, once, instead of a token"},
            "active": {"type": "string", "enum": ["true", "false"], "default": "true",
                "description": "false: the socket does not make its user online until set_active says so; otherwise it is like any other"},
        },
    });
    match mode {
        AuthMode::Trusted => query["required"] = json!(["user_id"]),
        AuthMode::Jwt => {
            query["properties"]["user_id"] = json!({
                "type": "string",
                "pattern": ID_OR_ME,
                "description": "whose socket: an id, or me: the token's user, who is also meant where this is left out",
            });
        }
    }
    let mut schemas = Map::new();
    let mut messages = Map::new();
    let mut operations = Map::new();
    let mut channel = Map::new();
    for (frames, action, direction) in [
        (from_server(), "send", "server"),
        (from_client(), "receive", "client"),
    ] {
        let mut references = Vec::new();
        for frame in frames {
            let name = format!("{direction}.{}", frame.name);
            let payload = match direction {
                "server" => server_frame(&frame),
                _ => client_frame(&frame),
            };
            for (named, schema) in &frame.named {
                schemas.insert(named.clone(), to_value(schema));
            }
            messages.insert(
                name.clone(),
                json!({
                    "name": frame.name,
                    "title": frame.name,
                    "summary": frame.summary,
                    "contentType": "application/json",
                    "payload": payload,
                    "examples": [{"payload": example(&frame, direction)}],
                }),
            );
            channel.insert(
                name.clone(),
                json!({"$ref": format!("#/components/messages/{name}")}),
            );
            references.push(json!({"$ref": format!("#/channels/socket/messages/{name}")}));
        }
        let mut operation = json!({
            "action": action,
            "channel": {"$ref": "#/channels/socket"},
            "summary": match direction {
                "server" => "Events, and frames about the connection",
                _ => "Commands; each is answered by ack or error with its requestId",
            },
            "messages": references,
        });
        if direction == "client" {
            operation["description"] = json!(ORDER_OF_COMMANDS);
        }
        if mode == AuthMode::Jwt {
            operation["security"] = any_of_the_ways();
        }
        operations.insert(format!("from_{direction}"), operation);
    }
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "pgchat",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The live side of pgchat. Frames are JSON text, one object each; ignore unknown members \
                and types. A member of a command that is spelt otherwise than here (`up_to_seq`) is refused, and so is one that is \
                given twice; other unknown ones are ignored. Times are in UTC, always with six digits of a second and Z: compare them as text, since a date \
                type of milliseconds loses their order. The HTTP side is described by openapi.json, beside this document.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "socket": {
                "address": "/ws",
                "title": "The socket of one user",
                "messages": channel,
                "x-close-codes": close_codes(),
                "bindings": {"ws": {"method": "GET", "headers": {
                    "type": "object",
                    "properties": {
                        "Sec-WebSocket-Protocol": {"type": "string", "examples": ["pgchat.v1", "pgchat.v1, bearer.eyJhbGciOi…"],
                            "description": "optional: pgchat.v1, which the answer repeats, and in jwt mode `bearer.` and a token behind it"},
                    },
                }, "query": query}},
            },
        },
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas, "securitySchemes": ways_to_authenticate()},
    });
    pin_times(&mut document);
    document
}

/// The ways in which a handshake says who opens the socket (docs/authentication.md, "Opening a socket").
const WAYS: [&str; 3] = ["header", "subprotocol", "ticket"];

fn ways_to_authenticate() -> Value {
    let [header, subprotocol, ticket] = WAYS;
    json!({
        header: {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "For programs: a user's token or a service token. Trusted mode needs none.",
        },
        subprotocol: {
            "type": "httpApiKey", "in": "header", "name": "Sec-WebSocket-Protocol",
            "description": "For browsers: `new WebSocket(url, [\"pgchat.v1\", `bearer.${token}`])`. The token is not echoed.",
        },
        ticket: {
            "type": "httpApiKey", "in": "query", "name": "ticket",
            "description": "A ticket of POST /api/v1/ws/ticket, which opens one socket, once, on any replica.",
        },
    })
}

/// One of them is enough, and more than one is refused.
fn any_of_the_ways() -> Value {
    WAYS.iter()
        .map(|way| json!({"$ref": format!("#/components/securitySchemes/{way}")}))
        .collect()
}

fn close_codes() -> Value {
    CLOSE_CODES
        .iter()
        .map(|close| json!({"code": close.code, "why": close.why, "whatToDo": close.what_to_do}))
        .collect()
}

fn to_value<T: serde::Serialize>(part: &RefOr<T>) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

fn server_frame(frame: &FrameKind) -> Value {
    let mut properties = json!({
        "type": {"const": frame.name},
        "data": to_value(&frame.data),
        "userId": {"type": "string", "format": "uuid",
                   "description": "who acted (the first participant of a new conversation); the connected user on frames about the connection"},
        "timestamp": {"type": "integer", "minimum": 0, "description": "Unix seconds"},
    });
    let mut required = vec!["type", "data", "userId", "timestamp"];
    if frame.cursor == CursorUse::Always {
        properties["cursor"] = json!({
            "type": "string",
            "description": "opaque; resume with the last one seen",
        });
        required.push("cursor");
    }
    json!({"type": "object", "required": required, "properties": properties})
}

fn client_frame(frame: &FrameKind) -> Value {
    let mut request_id = to_value(&RequestName::given());
    request_id["description"] = json!("comes back in the answer, as it was");
    json!({
        "type": "object",
        "required": ["type", "data"],
        "properties": {
            "type": {"const": frame.name},
            "requestId": request_id,
            "data": to_value(&frame.data),
        },
    })
}

fn example(frame: &FrameKind, direction: &str) -> Value {
    let mut example = json!({"type": frame.name, "data": frame.example});
    if direction == "client" {
        example["requestId"] = json!("r1");
        return example;
    }
    example["userId"] = json!("11111111-1111-4111-8111-111111111111");
    example["timestamp"] = json!(1_795_469_162);
    if frame.cursor == CursorUse::Always {
        example["cursor"] = json!("1.6b04-4000-1.5c2");
    }
    example
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each operation, what its ways to authenticate refer to.
    fn ways(document: &Value) -> Vec<Vec<&Value>> {
        let operations = document["operations"].as_object().expect("operations");
        let references = operations.values().map(|operation| {
            let security = operation["security"].as_array();
            security.into_iter().flatten().map(|way| {
                let place = way["$ref"].as_str().expect("a reference");
                let place = place.strip_prefix('#').expect("in this document");
                document.pointer(place).expect("what it refers to")
            })
        });
        references.map(Iterator::collect).collect()
    }

    #[test]
    fn who_opens_a_socket_is_said_by_a_header_a_subprotocol_or_a_ticket_where_tokens_are_needed() {
        let document = document(AuthMode::Jwt);
        let all = ways(&document);
        assert_eq!(all.len(), 2, "what is sent, and what is received");
        for ways in all {
            let kinds: Vec<_> = ways
                .iter()
                .map(|way| (&way["type"], &way["name"]))
                .collect();
            assert_eq!(
                kinds,
                [
                    (&json!("http"), &Value::Null),
                    (&json!("httpApiKey"), &json!("Sec-WebSocket-Protocol")),
                    (&json!("httpApiKey"), &json!("ticket")),
                ]
            );
        }
        let trusted = super::document(AuthMode::Trusted);
        assert!(ways(&trusted).iter().all(Vec::is_empty));
    }
}
