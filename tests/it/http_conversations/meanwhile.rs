//! What other programs delete while a conversation is opened.

use crate::support::*;

/// Another program deletes it while it is opened: it has been found by then, and is not there any more.
#[tokio::test]
async fn a_conversation_that_is_deleted_while_it_is_opened_is_made_anew() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    // Between the insert, which finds it, and the query for it.
    database
        .execute(
            "create function host_takes_long() returns trigger language plpgsql security definer set lock_timeout = '60s' as $$
             begin
               perform pg_advisory_xact_lock_shared(7);
               return null;
             end $$;
             create trigger host_takes_long after insert on conversations for each statement execute function host_takes_long()",
        )
        .await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let held = database.holding("select pg_advisory_xact_lock(7)").await;
    let deleted = async {
        until_a_lock_is_waited_for(&database, "it has been found").await;
        let delete = format!("delete from conversations where id = '{conversation}'");
        database.execute(&delete).await;
        held.batch_execute("commit").await.expect("its end");
    };
    let (opened, ()) = tokio::join!(api.try_open_conversation(ALICE, BORIS), deleted);
    let opened = opened.ok(201);
    assert_conversation(&opened);
    assert_ne!(id_of(&opened), conversation);
}

/// What the foreign key says then is nobody's fault.
#[tokio::test]
async fn who_is_deleted_while_a_conversation_with_them_is_opened_is_not_found() {
    let database = Database::fresh().await;
    // Until the deletion has ended, however slow the machine is.
    let patient = "alter function chat_open_conversation set lock_timeout = '60s'";
    database.execute_as_owner(patient).await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let deletion = database
        .holding(&format!("delete from users where id = '{DAVID}'"))
        .await;
    let ended = async {
        until_a_lock_is_waited_for(&database, "it waits for the user").await;
        deletion.batch_execute("commit").await.expect("its end");
    };
    let (opened, ()) = tokio::join!(api.try_open_conversation(CARLA, DAVID), ended);
    let why = opened.refused(404, "user_not_found");
    assert!(why.contains(&DAVID.to_string()), "{why}");
    // One that the host's own trigger raises is its own.
    let refuse = "create function host_refuses() returns trigger language plpgsql as $$ begin raise foreign_key_violation; end $$;
                  create trigger host_refuses after insert on conversations for each row execute function host_refuses()";
    database.execute(refuse).await;
    let opened = api.try_open_conversation(CARLA, ALICE).await;
    opened.refused(500, "internal");
}
