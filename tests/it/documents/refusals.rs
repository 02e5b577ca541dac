//! Each error that stands in the OpenAPI document as an example is provoked, on every route where it stands, and is said in these
//! words.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::{Uuid, uuid};

use super::{demo_data_in, filled_with, until_searchable};
use crate::auth::tokens::{SECRET, token};
use crate::embedded::{AMELIE, LUKASZ};
use crate::support::*;

/// In no conversation with Łukasz.
const ZEYNEP: &str = "33333333-3333-4333-8333-333333333333";

/// Of nobody and of nothing, in the document too.
const NOBODY: Uuid = uuid!("00000000-0000-4000-8000-000000000000");

/// One operation of the document.
struct Operation<'a> {
    method: Method,
    path: &'a str,
    described: &'a Value,
}

impl Operation<'_> {
    /// The request that its own examples make, with some parameters replaced.
    fn request(&self, replica: &Replica, other: &[(&str, &str)]) -> RequestBuilder {
        let path = filled_with(self.path, self.described, other);
        replica.api().request(self.method.clone(), &path)
    }

    fn body(&self) -> Option<&Value> {
        self.described
            .pointer("/requestBody/content/application~1json/example")
    }

    fn example(&self, replica: &Replica, other: &[(&str, &str)]) -> RequestBuilder {
        let request = self.request(replica, other);
        match self.body() {
            Some(body) => request.json(body),
            None => request,
        }
    }

    /// Its body with some members replaced.
    fn with(&self, replica: &Replica, members: &Value) -> RequestBuilder {
        let mut body = self.body().expect("a body").clone();
        for (name, value) in members.as_object().expect("members") {
            body[name] = value.clone();
        }
        self.request(replica, &[]).json(&body)
    }

    /// Which of its parameters is an id that may be wrong.
    fn id(&self) -> &'static str {
        ["conversation_id", "message_id", "user_id"]
            .into_iter()
            .find(|name| self.path.contains(&format!("{{{name}}}")))
            .unwrap_or("user_id")
    }
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().expect("paths");
    let mut all = Vec::new();
    for (path, item) in paths {
        for (method, described) in item.as_object().expect("operations") {
            let method = method.to_uppercase().parse().expect("a method");
            all.push(Operation {
                method,
                path,
                described,
            });
        }
    }
    // The others are about what is there.
    all.sort_by_key(|operation| operation.method == Method::DELETE);
    all
}

/// The examples of errors: status, name, body.
fn errors(operation: &Value) -> Vec<(&str, &str, &Value)> {
    let mut all = Vec::new();
    for (status, response) in operation["responses"].as_object().expect("responses") {
        let examples = response.pointer("/content/application~1json/examples");
        let examples = examples.and_then(Value::as_object).into_iter().flatten();
        for (name, example) in examples {
            all.push((status.as_str(), name.as_str(), &example["value"]));
        }
    }
    all
}

/// Of a replica that knows users by their tokens.
const JWT: [(&str, &str); 2] = [("JWT_SECRET", SECRET), ("SERVER_HOST", "127.0.0.1")];

/// Replicas of one database that are made to refuse.
struct Unkind<'a> {
    database: &'a Database,
    trusted: Replica,
    jwt: Replica,
    /// It takes one message a second of a user.
    strict: Replica,
    /// It waits a second for a body.
    hasty: Replica,
    /// It lists users to services only.
    discreet: Replica,
    /// A user who is deactivated.
    deactivated: Uuid,
    /// As the host, and as whoever locks its tables.
    host: Client,
}

impl<'a> Unkind<'a> {
    async fn start(database: &'a Database) -> Self {
        let deactivated = database.add_users(1).await[0];
        let sql = format!("update users set is_active = false where id = '{deactivated}'");
        database.execute(&sql).await;
        let trusted = [("RATE_LIMIT_PER_SECOND", "0")];
        let discreet = [JWT[0], JWT[1], ("USER_DIRECTORY", "services")];
        let strict = [("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "1")];
        let trusted = Replica::start(database, &trusted).await;
        until_searchable(&trusted).await;
        Self {
            database,
            trusted,
            jwt: Replica::start(database, &JWT).await,
            strict: Replica::start(database, &strict).await,
            hasty: Replica::start(database, &[("BODY_TIMEOUT_SECONDS", "1")]).await,
            discreet: Replica::start(database, &discreet).await,
            deactivated,
            host: closing(database).await,
        }
    }

    /// While the host refuses all changes.
    async fn while_closed(&self, operation: &Operation<'_>) -> Reply {
        let close = "insert into sale values ('closed')";
        self.host.batch_execute(close).await.expect("closed");
        let reply = Reply::to(operation.example(&self.trusted, &[])).await;
        let open = "delete from sale";
        self.host.batch_execute(open).await.expect("open");
        reply
    }

    /// While no read comes to its end: one of 64 and one more, the only one that is answered.
    ///
    /// All of them are waited for, however long the reads are held, and however many of them are made one after the other. And the replica
    /// is a new one, to which the user is known from now on: it would look for a user whom it knows no longer in a table that is held.
    async fn too_many_reads(&self, operation: &Operation<'_>) -> Reply {
        let patient = [UNHURRIED_SEARCH, ("DB_TIMEOUT_SECONDS", "60")];
        let replica = Replica::start(self.database, &[&JWT[..], &patient].concat()).await;
        let ask = || {
            let request = operation.example(&replica, &[]);
            Reply::to(request.bearer_auth(token(AMELIE)))
        };
        assert_eq!(ask().await.status, 200, "the user is known now");
        let hold = "begin; lock table users, conversations, messages in access exclusive mode";
        self.host.batch_execute(hold).await.expect("held");
        let mut asked: FuturesUnordered<_> = (0..65).map(|_| ask()).collect();
        let refused = asked.next().await.expect("an answer");
        self.host.batch_execute("rollback").await.expect("its end");
        while let Some(reply) = asked.next().await {
            assert_eq!(reply.status, 200);
        }
        refused
    }

    async fn provoke(&self, operation: &Operation<'_>, name: &str) -> Reply {
        let trusted = &self.trusted;
        let by = |user: Uuid| operation.example(&self.jwt, &[]).bearer_auth(token(user));
        let zeynep: Uuid = ZEYNEP.parse().expect("an id");
        let request = match name {
            "no_uuid" => operation.example(trusted, &[(operation.id(), "1234")]),
            "unknown_role" => operation.example(trusted, &[("role", "boss")]),
            "bad_ids" => operation.example(trusted, &[("ids", "1234")]),
            "bad_limit" => operation.example(trusted, &[("limit", "0")]),
            "no_object" => operation.request(trusted, &[]).json(&json!([])),
            "no_token" => operation.example(&self.jwt, &[]),
            "deactivated" => by(self.deactivated),
            "another_user" => by(zeynep),
            "no_participant" => operation
                .example(&self.jwt, &[("user_id", ZEYNEP)])
                .bearer_auth(token(zeynep)),
            "not_the_sender" => operation
                .example(&self.jwt, &[("user_id", &LUKASZ.to_string())])
                .bearer_auth(token(LUKASZ)),
            "unknown" if operation.path.ends_with("/chat/messages") => {
                operation.with(trusted, &json!({"conversationId": NOBODY}))
            }
            "unknown" if operation.path.ends_with("/chat/conversations") => {
                operation.with(trusted, &json!({"user2Id": NOBODY}))
            }
            "unknown" => operation.example(trusted, &[(operation.id(), &NOBODY.to_string())]),
            "unknown_caller" => by(NOBODY),
            "directory_off" => operation
                .example(&self.discreet, &[])
                .bearer_auth(token(AMELIE)),
            "refused" => return self.while_closed(operation).await,
            "other_content" => {
                let first = operation.example(trusted, &[]);
                assert!(Reply::to(first).await.status < 300);
                operation.with(trusted, &json!({"content": "Saturday, then."}))
            }
            "too_large" => operation.with(trusted, &json!({"content": "a".repeat(1 << 20)})),
            "no_json" => operation
                .request(trusted, &[])
                .header(CONTENT_TYPE, "text/plain")
                .body("hello"),
            "too_many_reads" => return self.too_many_reads(operation).await,
            "too_fast" => {
                // At once, of which one a second is welcome.
                let all = (0..5).map(|_| Reply::to(operation.example(&self.strict, &[])));
                let mut all = join_all(all).await;
                let refused = all.iter().position(|reply| reply.status == 429);
                return all.swap_remove(refused.unwrap_or(0));
            }
            other => panic!("nobody knows how to provoke {other}"),
        };
        Reply::to(request).await
    }

    /// A body that is announced and does not come.
    async fn slow(&self, operation: &Operation<'_>) -> Value {
        let mut raw = Raw::connect(&self.hasty).await;
        let path = filled_with(operation.path, operation.described, &[]);
        let line = format!("{} {path}", operation.method);
        let head = ["content-type: application/json", "content-length: 10"];
        raw.request(&line, &head).await;
        let reply = raw.reply().await.expect("an answer");
        serde_json::from_str(&reply.body).expect("JSON")
    }
}

/// A host that refuses all changes while its sale is closed, by triggers for each statement: they are asked also where there is nothing to
/// change.
async fn closing(database: &Database) -> Client {
    database
        .execute_as_owner(
            "create table sale (state text);
             create function refuse_closed() returns trigger language plpgsql as $$
             begin
               if exists (select from sale) then
                 raise exception 'the sale is closed' using errcode = 'PC403';
               end if;
               return null;
             end $$;
             create trigger refuse_closed before insert or update on messages for each statement execute function refuse_closed();
             create trigger refuse_closed before insert on conversations for each statement execute function refuse_closed()",
        )
        .await;
    database.sql().await
}

#[tokio::test]
async fn every_error_example_of_the_openapi_document_is_what_the_service_says() {
    let database = Database::with_users().await;
    demo_data_in(&database).await;
    let unkind = Unkind::start(&database).await;
    let document = unkind.jwt.api().get("/openapi.json").await.ok(200);
    let mut provoked: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for operation in operations(&document) {
        for (status, name, example) in errors(operation.described) {
            let Operation { method, path, .. } = &operation;
            // No request can ask for a defect; the database is stopped in the other test.
            if ["defect", "unreachable"].contains(&name) {
                continue;
            }
            let said = match name {
                "slow" => unkind.slow(&operation).await,
                _ => unkind.provoke(&operation, name).await.json(),
            };
            if said != *example || said["statusCode"].as_u64() != status.parse().ok() {
                faults.push(format!(
                    "{method} {path} {status} {name}: {said}, not {example}"
                ));
            }
            *provoked.entry(name).or_default() += 1;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(provoked.len(), 20, "{provoked:?}");
    assert!(provoked.values().sum::<usize>() >= 128, "{provoked:?}");
    let users = ["no_token", "deactivated"].map(|name| provoked[name]);
    assert_eq!(users, [18, 18], "all routes of the API");
}

#[tokio::test]
async fn without_a_database_every_route_says_what_stands_in_its_example() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let quick = [("WRITE_TIMEOUT_SECONDS", "2"), ("DB_TIMEOUT_SECONDS", "2")];
    let replica = Replica::start(&database, &quick).await;
    let document = replica.api().get("/openapi.json").await.ok(200);
    cluster.stop();
    until_status(&replica, "/health/ready", 503).await;
    let mut asked = 0;
    for operation in operations(&document) {
        let Operation { method, path, .. } = &operation;
        for (_, name, example) in errors(operation.described) {
            if name != "unreachable" {
                continue;
            }
            let reply = Reply::to(operation.example(&replica, &[])).await;
            let said = reply.ok(503);
            for member in ["statusCode", "error", "code"] {
                assert_eq!(said[member], example[member], "{method} {path}: {said}");
            }
            assert!(said["message"].is_string() && !reply.header("retry-after").is_empty());
            asked += 1;
        }
    }
    assert_eq!(asked, 18, "all routes of the API, for {AMELIE}");
}
