//! A content that nobody sees anything of is no message, and the service, SQL and the documents mean the same characters by that.

use pgchat::for_tests::{AuthMode, is_invisible, openapi};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::*;

const FAULT: &str = "content must not be empty, or only white space and invisible characters";

/// Nobody sees these: alone, or beside each other.
fn invisible() -> Vec<String> {
    let all: String = ('\0'..=char::MAX).filter(|c| is_invisible(*c)).collect();
    let few = [
        "",
        " \t\r\n",
        "\u{2003}\u{a0}",
        "\u{ad}",
        "\u{34f}",
        "\u{115f}",
        "\u{200b}",
        "\u{200d}\u{fe0f}",
        "\u{2800}",
        "\u{3164}",
        "\u{feff}",
        "\u{e0001}",
        "\u{e0fff}",
        " \u{200b}\n\u{2800}\u{a0} ",
    ];
    few.map(str::to_owned).into_iter().chain([all]).collect()
}

/// All of these can be seen.
const VISIBLE: [&str; 12] = [
    "v",
    "a\u{200b}",
    "\u{200b}x",
    "\u{3000}\u{e9}\u{a0}",
    " \u{ad}\u{142}",
    "👩\u{200d}👩\u{200d}👧\u{200d}👦",
    "\u{2764}\u{fe0f}",
    "\u{fe0f}\u{20e3}",
    "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    "\u{2801}",
    "\u{1f1eb}\u{1f1f7}",
    "\u{1}",
];

#[tokio::test]
async fn sql_and_the_service_see_the_same_characters() {
    let database = Database::fresh().await;
    let sql = database.sql().await;
    let all = "select array_agg(code) from generate_series(1, 1114111) code
                where code not between 55296 and 57343 and chat_is_invisible(chr(code))";
    let found: Vec<i32> = sql.query_one(all, &[]).await.expect("the codes").get(0);
    let wanted = ('\u{1}'..=char::MAX).filter(|c| is_invisible(*c));
    let wanted: Vec<i32> = wanted.map(|c| (c as u32).cast_signed()).collect();
    assert_eq!(ranges(&found), ranges(&wanted));
    assert_eq!(wanted.len(), 4200);
    assert_eq!(
        database
            .count("chat_is_invisible('') seen where seen")
            .await,
        1
    );
}

/// The first and the last of each unbroken row.
fn ranges(codes: &[i32]) -> Vec<String> {
    let rows = codes.chunk_by(|code, next| code + 1 == *next);
    rows.map(|row| format!("{:x}-{:x}", row[0], row[row.len() - 1]))
        .collect()
}

/// But for those beyond U+FFFF, which expressions for one language alone name.
#[test]
fn the_openapi_document_says_which_characters_nobody_sees() {
    let document = serde_json::to_value(openapi::document(AuthMode::Trusted)).expect("JSON");
    for schema in ["SendMessage", "EditMessage"] {
        let content = &document["components"]["schemas"][schema]["properties"]["content"];
        assert_eq!(content["type"], "string", "{content}");
        let is_valid = jsonschema::validator_for(content).expect("a schema");
        let is_valid = |text: &str| is_valid.is_valid(&json!(text));
        for character in '\u{1}'..='\u{ffff}' {
            let text = character.to_string();
            assert_eq!(is_valid(&text), !is_invisible(character), "{text:?}");
        }
        assert!(VISIBLE.into_iter().all(is_valid));
        assert!(!is_valid("a\0") && !is_valid("\u{200b}\u{ad}\n") && !is_valid(""));
    }
}

#[tokio::test]
async fn what_nobody_sees_is_no_message_whichever_way_it_comes() {
    let ways = Ways::set().await;
    for content in invisible() {
        ways.refused(&content).await;
    }
    for content in VISIBLE {
        ways.taken(content).await;
    }
}

/// Their programs write what they like, as with an empty content.
#[tokio::test]
async fn what_other_programs_write_into_the_tables_may_be_invisible() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    for content in ["", " ", "\u{200b}"] {
        let insert = format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', '{content}')"
        );
        database.execute(&insert).await;
    }
    let update = "update messages set content = e'\\u2800'";
    database.execute(update).await;
    assert_eq!(database.count("messages").await, 3);
}

/// Of a column that was adopted, say.
#[tokio::test]
async fn an_invisible_content_is_refused_whatever_its_collation_is() {
    let database = Database::fresh().await;
    if !database.has_icu().await {
        return;
    }
    let conversation = database.conversation(ALICE, BORIS).await;
    database
        .execute("create collation any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
        .await;
    let sql = database.sql().await;
    let statement = "select chat_send_message($1, $2, $3::text collate any_case)::text";
    let send = async |content: &str| {
        sql.query(statement, &[&conversation, &ALICE, &content])
            .await
    };
    let refused = send("\u{200b}\u{3164}").await.expect_err("refused");
    assert_eq!(refused.as_db_error().expect("a refusal").message(), FAULT);
    send("\u{200b}\u{e9}").await.expect("a message");
}

/// The ways that a content comes by, each with a message that is to be edited.
struct Ways {
    database: Database,
    replica: Replica,
    conversation: Uuid,
    edited: Uuid,
}

impl Ways {
    async fn set() -> Self {
        let database = Database::fresh().await;
        let replica = Replica::start(&database, &[("RATE_LIMIT_PER_SECOND", "0")]).await;
        let api = replica.api();
        let conversation = api.open_conversation(ALICE, BORIS).await;
        let edited = id_of(&api.send(conversation, ALICE, "to be edited").await);
        Self {
            database,
            replica,
            conversation,
            edited,
        }
    }

    async fn refused(&self, content: &str) {
        const INVALID: &str = "validation_failed";
        let api = self.replica.api();
        let told = [
            api.try_send(self.conversation, ALICE, content)
                .await
                .refused(400, INVALID),
            api.edit(self.edited, ALICE, content)
                .await
                .refused(400, INVALID),
            self.command("send_message", content).await,
            self.command("edit_message", content).await,
            self.by_sql(content).await.expect_err("refused"),
        ];
        assert_eq!(told, [FAULT; 5], "{content:?}");
    }

    async fn taken(&self, content: &str) {
        let api = self.replica.api();
        api.send(self.conversation, ALICE, content).await;
        api.edit(self.edited, ALICE, content).await.ok(200);
        self.by_sql(content).await.expect("a message");
        for kind in ["send_message", "edit_message"] {
            assert_eq!(self.command(kind, content).await, "ack", "{content:?}");
        }
    }

    /// By a socket; what it is told, or `ack`.
    async fn command(&self, kind: &str, content: &str) -> String {
        let mut socket = Socket::connect(&self.replica, ALICE).await;
        let data = match kind {
            "send_message" => json!({"conversationId": self.conversation, "content": content}),
            _ => json!({"messageId": self.edited, "content": content}),
        };
        let mut answer = socket.answer_to(kind, data).await;
        socket.close().await;
        match answer["data"]["message"].take() {
            Value::String(message) => message,
            _ => answer["type"].as_str().expect("a type").to_owned(),
        }
    }

    /// Rejected with what it is told: SQLSTATE 23514.
    async fn by_sql(&self, content: &str) -> Result<(), String> {
        let sql = self.database.sql().await;
        let statement = "select chat_send_message($1, $2, $3)::text";
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&self.conversation, &ALICE, &content];
        match sql.query(statement, &parameters).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = error.as_db_error().expect("an error of the database");
                assert_eq!(error.code().code(), "23514", "{error}");
                Err(error.message().to_owned())
            }
        }
    }
}
