//! Every route and every command, asked by everybody: the answer to each is in a table. That the table is
//! whole is seen to in `listed`.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::tokens::{claims, hs256};
use super::{SERVICE_TOKEN, replica};
use crate::support::*;

pub const ISSUER: &str = "https://host.example";
pub const AUDIENCE: &str = "chat";

const CHECKS: [(&str, &str); 2] = [("JWT_ISSUER", ISSUER), ("JWT_AUDIENCE", AUDIENCE)];

/// A conversation of Alice and Boris with a message of Alice; nothing of Carla.
pub struct Stage {
    pub replica: Replica,
    pub conversation: Uuid,
    pub message: Uuid,
}

impl Stage {
    pub async fn new(database: &Database) -> Self {
        let replica = replica(database, &CHECKS).await;
        let conversation = database.conversation(ALICE, BORIS).await;
        let body = json!({"conversationId": conversation, "senderId": ALICE, "content": "hello"});
        let request = replica.api().request(Method::POST, "/api/v1/chat/messages");
        let sent = Reply::to(request.bearer_auth(SERVICE_TOKEN).json(&body)).await;
        let message = id_of(&sent.ok(201));
        Self {
            replica,
            conversation,
            message,
        }
    }

    /// One whose conversation and message do not exist.
    pub async fn nowhere(database: &Database) -> Self {
        Self {
            replica: replica(database, &CHECKS).await,
            conversation: NOBODY,
            message: NOBODY,
        }
    }
}

/// Status and code; no code where it is no error.
pub type Answer = (u16, &'static str);

const STRANGER: Answer = (403, "not_a_participant");
const MISMATCH: Answer = (403, "user_mismatch");
const REQUIRED: Answer = (400, "validation_failed");

/// A route and what it answers: in the request's path and body `{user}` is whom it acts for.
pub struct Route {
    pub name: &'static str,
    path: &'static str,
    body: &'static str,
    /// To Alice's token, acting for Alice.
    own: Answer,
    /// To Boris, the other participant, acting for himself.
    participant: Answer,
    /// To Carla, acting for herself.
    stranger: Answer,
    /// To Carla's token, acting for Alice.
    other: Answer,
    /// To Alice's token, where the request names nobody.
    unnamed: Answer,
    /// To a service token, acting for Alice.
    service: Answer,
    /// To a service token, where the request names nobody.
    service_unnamed: Answer,
}

const fn ok(status: u16) -> Answer {
    (status, "")
}

/// A route that any valid token may call, and where nobody is acted for.
const fn for_anybody(name: &'static str, path: &'static str) -> Route {
    let fine = ok(200);
    Route {
        name,
        path,
        body: "",
        own: fine,
        participant: fine,
        stranger: fine,
        other: fine,
        unnamed: fine,
        service: fine,
        service_unnamed: fine,
    }
}

/// A route whose path is about one user.
const fn about_one(name: &'static str, path: &'static str) -> Route {
    Route {
        other: MISMATCH,
        unnamed: REQUIRED,
        service_unnamed: REQUIRED,
        ..for_anybody(name, path)
    }
}

pub const fn routes() -> [Route; 18] {
    [
        for_anybody("GET /api/v1/users", "/api/v1/users"),
        for_anybody("GET /api/v1/users/active", "/api/v1/users/active"),
        for_anybody("GET /api/v1/users/role/{role}", "/api/v1/users/role/buyer"),
        Route {
            unnamed: REQUIRED,
            service_unnamed: REQUIRED,
            ..for_anybody("GET /api/v1/users/{user_id}", "/api/v1/users/{user}")
        },
        about_one(
            "GET /api/v1/chat/users/{user_id}/conversations",
            "/api/v1/chat/users/{user}/conversations",
        ),
        about_one(
            "GET /api/v1/chat/conversations/{user_id}",
            "/api/v1/chat/conversations/{user}",
        ),
        Route {
            stranger: STRANGER,
            ..about_one(
                "GET /api/v1/chat/users/{user_id}/conversations/{conversation_id}",
                "/api/v1/chat/users/{user}/conversations/{conversation}",
            )
        },
        about_one(
            "GET /api/v1/chat/users/{user_id}/unread-count",
            "/api/v1/chat/users/{user}/unread-count",
        ),
        about_one(
            "GET /api/v1/chat/users/{user_id}/events",
            "/api/v1/chat/users/{user}/events",
        ),
        Route {
            stranger: STRANGER,
            ..about_one(
                "GET /api/v1/chat/users/{user_id}/search",
                "/api/v1/chat/users/{user}/search?q=hello&conversation_id={conversation}",
            )
        },
        Route {
            stranger: STRANGER,
            other: MISMATCH,
            ..for_anybody(
                "GET /api/v1/chat/conversations/{conversation_id}/messages",
                "/api/v1/chat/conversations/{conversation}/messages?user_id={user}",
            )
        },
        Route {
            stranger: STRANGER,
            other: MISMATCH,
            ..for_anybody(
                "GET /api/v1/chat/messages/{message_id}",
                "/api/v1/chat/messages/{message}?user_id={user}",
            )
        },
        Route {
            stranger: STRANGER,
            other: MISMATCH,
            service_unnamed: REQUIRED,
            ..for_anybody(
                "PUT /api/v1/chat/conversations/{conversation_id}/read",
                "/api/v1/chat/conversations/{conversation}/read?user_id={user}",
            )
        },
        Route {
            body: r#"{"user1Id": "{user}", "user2Id": "{david}"}"#,
            own: ok(201),
            participant: ok(201),
            stranger: ok(201),
            other: MISMATCH,
            // The one that was opened before.
            unnamed: ok(200),
            service_unnamed: REQUIRED,
            ..for_anybody(
                "POST /api/v1/chat/conversations",
                "/api/v1/chat/conversations",
            )
        },
        Route {
            body: r#"{"conversationId": "{conversation}", "senderId": "{user}", "content": "hi"}"#,
            own: ok(201),
            participant: ok(201),
            stranger: STRANGER,
            other: MISMATCH,
            unnamed: ok(201),
            service: ok(201),
            service_unnamed: REQUIRED,
            ..for_anybody("POST /api/v1/chat/messages", "/api/v1/chat/messages")
        },
        Route {
            body: r#"{"content": "hello again"}"#,
            participant: (403, "not_the_sender"),
            stranger: STRANGER,
            other: MISMATCH,
            service_unnamed: REQUIRED,
            ..for_anybody(
                "PATCH /api/v1/chat/messages/{message_id}",
                "/api/v1/chat/messages/{message}?user_id={user}",
            )
        },
        Route {
            own: ok(204),
            participant: (403, "not_the_sender"),
            stranger: STRANGER,
            other: MISMATCH,
            unnamed: ok(204),
            service: ok(204),
            service_unnamed: REQUIRED,
            ..for_anybody(
                "DELETE /api/v1/chat/messages/{message_id}",
                "/api/v1/chat/messages/{message}?user_id={user}",
            )
        },
        Route {
            own: ok(201),
            participant: ok(201),
            stranger: ok(201),
            other: MISMATCH,
            unnamed: ok(201),
            service: ok(201),
            service_unnamed: REQUIRED,
            ..for_anybody("POST /api/v1/ws/ticket", "/api/v1/ws/ticket?user_id={user}")
        },
    ]
}

/// Routes that need no token; a bad one does them no harm.
pub const OPEN: [&str; 14] = [
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "GET /client/pgchat.js",
    "GET /client/pgchat.d.ts",
    "GET /client/conversation.js",
    "GET /client/conversation.d.ts",
    "GET /openapi.json",
    "GET /asyncapi.json",
    "GET /docs/",
    "GET /docs",
    "GET /",
    "GET /page/app.js",
];

impl Route {
    pub async fn ask(&self, stage: &Stage, user: Option<Uuid>, token: Option<&str>) -> Reply {
        let (method, _) = self.name.split_once(' ').expect("a method");
        let method = method.parse::<Method>().expect("a method");
        let fill = |text: &str| {
            let text = match user {
                Some(user) => text.replace("{user}", &user.to_string()),
                // Left out: the parameter, the field, or what a path needs.
                None => text
                    .replace("?user_id={user}", "")
                    .replace(r#""senderId": "{user}", "#, "")
                    .replace(r#""user1Id": "{user}", "#, "")
                    .replace("{user}", "nobody"),
            };
            text.replace("{conversation}", &stage.conversation.to_string())
                .replace("{message}", &stage.message.to_string())
                .replace("{david}", &DAVID.to_string())
        };
        let mut request = stage.replica.api().request(method, &fill(self.path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if !self.body.is_empty() {
            let body: Value = serde_json::from_str(&fill(self.body)).expect("JSON");
            request = request.json(&body);
        }
        Reply::to(request).await
    }
}

pub fn assert_answered(who: &str, route: &str, reply: &Reply, (status, code): Answer) {
    let found = match reply.text.as_str() {
        text if reply.status >= 400 => {
            let body: Value = serde_json::from_str(text).expect("JSON");
            body["code"].as_str().unwrap_or_default().to_owned()
        }
        _ => String::new(),
    };
    assert_eq!(
        (reply.status, &*found),
        (status, code),
        "{who}: {route}: {reply:?}"
    );
}

/// Claims that pass all checks.
pub fn good(user: Uuid) -> Value {
    let mut claims = claims(user);
    claims["iss"] = json!(ISSUER);
    claims["aud"] = json!([AUDIENCE, "shop"]);
    claims
}

pub fn good_token(user: Uuid) -> String {
    hs256(&good(user))
}

#[tokio::test]
async fn every_route_serves_those_whom_it_concerns_and_nobody_else() {
    let database = Database::fresh().await;
    let stage = Stage::new(&database).await;
    let [alice, boris, carla] = [ALICE, BORIS, CARLA].map(good_token);
    for route in &routes() {
        for (who, token, user, expected) in [
            ("a stranger", &*carla, Some(CARLA), route.stranger),
            ("another user", &carla, Some(ALICE), route.other),
            ("a participant", &boris, Some(BORIS), route.participant),
            (
                "a service for nobody",
                SERVICE_TOKEN,
                None,
                route.service_unnamed,
            ),
            ("the user", &alice, Some(ALICE), route.own),
            ("the user, not named", &alice, None, route.unnamed),
            ("a service", SERVICE_TOKEN, Some(ALICE), route.service),
        ] {
            let reply = route.ask(&stage, user, Some(token)).await;
            assert_answered(who, route.name, &reply, expected);
        }
    }
}

#[tokio::test]
async fn what_needs_no_token_is_open() {
    let database = Database::fresh().await;
    let stage = Stage::new(&database).await;
    for route in OPEN {
        let path = route.strip_prefix("GET ").expect("GET");
        for token in [None, Some("garbage")] {
            let mut request = stage.replica.api().request(Method::GET, path);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let reply = Reply::to(request).await;
            assert_eq!(reply.status, 200, "{route}");
        }
    }
}

/// Who is no participant gets the same answer, to the letter, whether what they name exists or not.
#[tokio::test]
async fn a_stranger_cannot_tell_whether_a_conversation_or_a_message_exists() {
    let database = Database::fresh().await;
    let stage = Stage::new(&database).await;
    let nowhere = Stage::nowhere(&database).await;
    let carla = good_token(CARLA);
    for route in routes().iter().filter(|route| route.stranger == STRANGER) {
        // Named or not, where the path does not need it.
        let mut named = vec![Some(CARLA)];
        if route.unnamed.0 < 300 {
            named.push(None);
        }
        for user in named {
            let existing = route.ask(&stage, user, Some(&carla)).await;
            let missing = route.ask(&nowhere, user, Some(&carla)).await;
            assert_answered("a stranger", route.name, &existing, STRANGER);
            assert_eq!(existing.text, missing.text, "{}", route.name);
            assert_eq!(existing.status, missing.status, "{}", route.name);
        }
    }
}
