//! An example beside pgchat in a schema of its own, `chat`: what the example makes is in `host`, and the service has no rights there.

use std::fs;
use std::process::Command;

use super::{example, succeeded};
use crate::support::*;

const SCHEMA: (&str, &str) = ("DB_SCHEMA", "chat");

pub struct Apart {
    pub database: Database,
    pub replica: Replica,
    /// With the rights that the program's first lines name, and no others.
    pub role: String,
}

impl Apart {
    /// `sql` is run by the owner of pgchat's tables.
    pub async fn set(sql: &str, program: &str) -> Self {
        let mut database = Database::with_users().await;
        database.make_roles(&[("schema", "chat")]).await;
        database.migrate(&[SCHEMA]).await.assert_ok();
        database.make_roles(&[("schema", "chat")]).await;
        database.served_by = SERVICE;
        // For what these tests write.
        let name = &database.name;
        let path = "set search_path = host, chat, public";
        let session = format!("alter role postgres in database {name} {path}");
        database.execute(&session).await;
        database.execute_as_owner("create schema host").await;
        let ran = Command::new(psql())
            .args([
                "--no-psqlrc",
                "--quiet",
                "--set=chat=chat",
                "--set=host=host",
            ])
            .arg("--file")
            .arg(example(sql))
            .arg(database.url(OWNER))
            .env("PGOPTIONS", "-c search_path=host")
            .output();
        succeeded(&ran.expect("psql runs"));
        let role = database.role("worker").await;
        let program = fs::read_to_string(example(program)).expect("a program");
        let documented = program
            .lines()
            .filter_map(|line| line.strip_prefix("//   grant "))
            .map(|rest| format!("grant {};", rest.replace("ROLE;", &role)));
        let grants: Vec<String> = documented.collect();
        assert_eq!(grants.len(), 2);
        let usage = format!("grant usage on schema host, chat to {role};");
        let path = format!("alter role {role} set search_path = host, chat;");
        database
            .execute(&format!("{usage}{path}{}", grants.concat()))
            .await;
        let replica = Replica::start(&database, &[SCHEMA]).await;
        Self {
            database,
            replica,
            role,
        }
    }
}
