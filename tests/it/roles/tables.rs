//! Who may do what with the tables, whatever the host gives others by default.

use super::{assert_refused, texts};
use crate::support::*;

/// As where everything in a schema is open to the roles of a REST server.
#[tokio::test]
async fn default_privileges_on_tables_are_told_and_open_none_of_the_internal_ones() {
    let database = Database::with_users().await;
    let role = database.role("anon").await;
    database
        .execute(&format!(
            "alter default privileges for role {OWNER} in schema public grant all on tables to {role}, public"
        ))
        .await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    // What it makes is nobody's but by a grant of its own, of which the log has the words.
    let within_reach = format!(
        "select distinct c.relname::text from pg_class c cross join lateral aclexplode(c.relacl) a
          where c.relnamespace = 'public'::regnamespace and c.relname <> 'users' and a.grantee in (0, '{role}'::regrole)
          order by 1"
    );
    let client = database.sql().await;
    assert_eq!(texts(&client, &within_reach).await, Vec::<String>::new());
    let read = format!(
        "grant select on public.chat_presence, public.conversations, public.messages to {role}"
    );
    assert!(outcome.stderr.contains(&read), "{outcome:#?}");
    database.execute_as_owner(&read).await;
    database.migrate(&[]).await.assert_ok();
    let readable = ["chat_presence", "conversations", "messages"];
    assert_eq!(texts(&client, &within_reach).await, readable);
    // By the host, or by a version that did not take it back.
    database
        .execute_as_owner(&format!(
            "do $$ declare t regclass; begin
               for t in select oid from pg_class where relnamespace = 'public'::regnamespace and relname <> 'users' and relkind in ('r', 'v') loop
                 execute format('grant all on %s to {role}, public', t);
               end loop;
             end $$"
        ))
        .await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    let told = format!("default privileges let {role}, public read or change");
    assert!(outcome.stderr.contains(&told), "{outcome:#?}");

    let anon = database.sql_as(&role).await;
    let forged = format!(
        "insert into chat_tickets (hash, user_id, expires_at) values ('\\x00', '{ALICE}', now() + interval '1 hour')"
    );
    assert_refused(&anon, &forged).await;
    // A view of one such table, which runs with its owner's rights.
    let online = "select user_id, is_online from chat_presence";
    anon.batch_execute(online).await.expect("may be read");
    for change in [
        format!("insert into chat_presence (user_id, last_seen_at) values ('{ALICE}', now())"),
        "update chat_presence set last_seen_at = now()".to_owned(),
        "delete from chat_presence".to_owned(),
    ] {
        assert_refused(&anon, &change).await;
    }
    // With it one has all rights of their owner.
    for table in ["conversations", "messages"] {
        for who in [role.as_str(), "public"] {
            let taken = format!("triggers on {table} is taken from {who}");
            assert!(outcome.stderr.contains(&taken), "{outcome:#?}");
        }
    }
    let triggers = format!(
        "select c.relname::text from pg_class c
          where c.oid in ('conversations'::regclass, 'messages'::regclass) and has_table_privilege('{role}', c.oid, 'trigger')"
    );
    assert_eq!(texts(&client, &triggers).await, Vec::<String>::new());
    let open = format!(
        "select c.oid::regclass::text from pg_class c
          where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'S', 'p')
            and (has_any_column_privilege('{role}', c.oid, 'select, insert, update, references')
                 or has_table_privilege('{role}', c.oid, 'delete, truncate, trigger'))
          order by 1"
    );
    let left = ["chat_presence", "conversations", "messages"];
    assert_eq!(texts(&client, &open).await, left);
    let shown = format!(
        "select grantee || ' ' || privilege_type from information_schema.role_table_grants
          where table_name = 'chat_presence' and grantee in ('{role}', 'PUBLIC') order by 1"
    );
    let mut read_only = [format!("{role} SELECT"), "PUBLIC SELECT".to_owned()];
    read_only.sort();
    let mut rights = texts(&client, &shown).await;
    rights.sort();
    assert_eq!(rights, read_only);

    // As it says.
    database
        .execute_as_owner(&format!(
            "revoke all on all tables in schema public from public, {role}"
        ))
        .await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    assert!(
        !outcome.stderr.contains("default privileges"),
        "{outcome:#?}"
    );
}

/// The Go service's user, say: it goes on working with the two tables.
#[tokio::test]
async fn whoever_owned_the_tables_keeps_its_rights_on_conversations_and_messages_alone() {
    let database = Database::with_users().await;
    let former = database.role("former").await;
    database
        .execute(&format!(
            "grant create, usage on schema public to {former}; grant select, references on users to {former}"
        ))
        .await;
    let as_former = settings(&database, &[("DB_USER", &former)]);
    pgchat(&["migrate"], &as_former).await.assert_ok();
    database.make_roles(&[]).await;

    let client = database.sql().await;
    let rights = format!(
        "select c.relname || ' ' || string_agg(k.kind, ', ' order by k.place) from pg_class c
          cross join (values (1, 'select'), (2, 'insert'), (3, 'update'), (4, 'delete'), (5, 'truncate'), (6, 'trigger')) k (place, kind)
          where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v')
            and c.relname <> 'users' and has_table_privilege('{former}', c.oid, k.kind)
          group by c.relname order by 1"
    );
    let all = "select, insert, update, delete";
    let kept = ["conversations", "messages"].map(|table| format!("{table} {all}"));
    assert_eq!(texts(&client, &rights).await, kept);
}
