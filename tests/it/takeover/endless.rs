//! The other service writes as fast as its messages are numbered.

use super::{assert_taken_over, go_service};

/// As many as the migration would rather have numbered beforehand, and more.
const MESSAGES: i64 = 1_500;

/// It would go on for ever, with one round for each that came during the last one.
#[tokio::test]
async fn a_migration_ends_though_as_many_messages_come_as_it_numbers() {
    let database = go_service(MESSAGES).await;
    // One for each message that is numbered; in vain where that never ends.
    database
        .execute_as_owner(&format!(
            "create function send_one_more() returns trigger language plpgsql as $$
             begin
               if to_regclass('chat_adoption') is not null and (select count(*) from messages) < {} then
                 insert into messages (conversation_id, sender_id, content, created_at, updated_at)
                 values (new.conversation_id, new.sender_id, 'meanwhile', now(), now());
               end if;
               return null;
             end $$;
             create trigger send_one_more after update on messages for each row execute function send_one_more()",
            MESSAGES * 10
        ))
        .await;
    database.migrate(&[]).await.assert_ok();
    // Those of the first round and of the second, which has not found less to do.
    assert_taken_over(&database, 2 * MESSAGES).await;
}
