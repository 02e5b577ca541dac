//! While others mark in the same conversation.

use super::*;

/// The mark has not seen it: it was read, or deleted, when that began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unread_again_while_a_mark_is_not_committed_stays_unread() {
    for (before, change) in [
        ("is_read = true", "is_read = false"),
        ("deleted_at = now()", "deleted_at = null"),
    ] {
        let [before, change] =
            [before, change].map(|set| format!("update messages set {set} where seq = 1"));
        let mut stage = stage().await;
        stage.database.execute(&before).await;
        let mark = format!("{MARK} where not is_read and deleted_at is null");
        let marking = stage.database.holding(&mark).await;
        let changing = stage.database.execute(&change);
        let committing = async {
            until_a_lock_is_waited_for(&stage.database, "the change waits for the mark").await;
            marking.batch_execute("commit").await.expect("its end");
        };
        join(changing, committing).await;
        assert_unread(&mut stage, 1).await;
    }
}

/// A mark of a deleted message is told with that message: it is none of those before it, for which nobody waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unread_again_while_a_deleted_message_is_marked_stays_unread() {
    let mut stage = stage().await;
    stage
        .database
        .execute(
            "update messages set is_read = true where seq <= 2;
             update messages set deleted_at = now() where seq = 3",
        )
        .await;
    let marking = format!("{MARK} where not is_read");
    let marking = stage.database.holding(&marking).await;
    stage.database.execute(TAKE_BACK).await;
    marking.batch_execute("commit").await.expect("its end");
    assert_unread(&mut stage, 1).await;
}

/// A listener that catches up takes it for no mark, either, though the message was read once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_message_that_is_marked_while_the_listener_is_away_covers_none_before_it() {
    let marks = [
        "update messages set deleted_at = now() where seq = 3; update messages set is_read = true where seq = 3",
        "update messages set deleted_at = now(), is_read = true where seq = 3",
        "update messages set deleted_at = now() where seq = 3;
         update messages set deleted_at = null, is_read = true where seq = 3",
    ];
    for mark in marks {
        let mut stage = stage().await;
        for change in [MARK, TAKE_BACK] {
            stage.database.execute(change).await;
        }
        stage.send("seen").await;
        let mut shown = Shown::new();
        shown.tell(&stage.boris.before_message("seen").await);
        stage.cut().await;
        let changes = format!("update messages set is_read = false where seq = 3; {mark}");
        stage.database.execute(&changes).await;
        stage.comes_back().await;
        stage.send("last").await;
        let frames = stage.boris.before_message("last").await;
        shown.tell(&frames);
        assert_eq!(shown.unread, [1].into(), "{frames:#?}");
    }
}

/// Nobody who sends waits for the mark that this one waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_mark_to_make_a_message_unread_again_holds_up_no_send() {
    let mut stage = stage().await;
    stage
        .database
        .execute("update messages set is_read = true where seq = 1")
        .await;
    let mark = format!("{MARK} where not is_read");
    let marking = stage.database.holding(&mark).await;
    let changing = stage.database.execute(TAKE_BACK);
    let sending = async {
        until_a_lock_is_waited_for(&stage.database, "the change waits for the mark").await;
        stage.send("meanwhile").await;
        marking.batch_execute("commit").await.expect("its end");
    };
    join(changing, sending).await;
    stage.boris.before_message("meanwhile").await;
    assert_unread(&mut stage, 1).await;
}

/// What was seen as unread, and is not marked, is covered as any other message is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unread_again_is_told_once_and_not_with_each_mark_that_has_seen_it() {
    let mut stage = stage().await;
    for change in [MARK, "update messages set is_read = false where seq <= 2"] {
        stage.database.execute(change).await;
    }
    stage.send("fourth").await;
    stage.boris.before_message("fourth").await;
    for seq in [4, 2] {
        let mark = format!("{MARK} where seq = {seq}");
        stage.database.execute(&mark).await;
    }
    stage.send("last").await;
    let frames = stage.boris.before_message("last").await;
    let types: Vec<_> = frames.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(types, ["messages_read", "messages_read"], "{frames:#?}");
}

/// In one transaction, as one who answers: neither waits for the other in a circle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_and_then_marks_is_not_refused_beside_who_makes_a_message_unread_again() {
    let mut stage = stage().await;
    stage
        .database
        .execute("update messages set is_read = true where seq = 1")
        .await;
    let conversation = stage.conversation;
    let answer = format!(
        "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{BORIS}', 'an answer')"
    );
    let answering = stage.database.holding(&answer).await;
    let changing = stage.database.execute(TAKE_BACK);
    let marking = async {
        until_a_lock_is_waited_for(&stage.database, "the change waits for the answer").await;
        let mark = format!("{MARK} where not is_read; commit");
        answering.batch_execute(&mark).await.expect("its end");
    };
    join(changing, marking).await;
    stage.boris.before_message("an answer").await;
    assert_unread(&mut stage, 1).await;
}

/// The statement has not seen it, though it is of its own transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_trigger_of_the_hosts_makes_unread_again_while_its_statement_marks_stays_unread() {
    let mut stage = stage().await;
    let trigger = "
        create function take_back() returns trigger language plpgsql as $$ begin
          if new.seq = 3 and new.is_read and not old.is_read then update messages set is_read = false where seq = 1; end if;
          return null;
        end $$;
        create trigger take_back after update on messages for each row execute function take_back();";
    stage.database.execute(trigger).await;
    stage
        .database
        .execute("update messages set is_read = true where seq <= 2")
        .await;
    let marking = stage.database.holding("select pg_current_xact_id()").await;
    // A later number than its own has ended by then.
    stage
        .database
        .execute("update conversations set updated_at = updated_at")
        .await;
    let mark = format!("{MARK} where seq = 3; commit");
    marking.batch_execute(&mark).await.expect("its end");
    assert_unread(&mut stage, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_unread_again_only_what_the_mark_has_not_seen_is_told_once_more() {
    let mut stage = stage().await;
    let mark_two = format!("{MARK} where seq <= 2");
    for change in [mark_two.as_str(), TAKE_BACK] {
        stage.database.execute(change).await;
    }
    let take_back = "update messages set is_read = false where seq = 2";
    let changing = stage.database.holding(take_back).await;
    let mark = format!("{MARK} where seq = 3");
    let marking = stage.database.execute(&mark);
    let committing = async {
        until_a_lock_is_waited_for(&stage.database, "the mark waits for the change").await;
        changing.batch_execute("commit").await.expect("its end");
    };
    join(marking, committing).await;
    stage.send("last").await;
    let frames = stage.boris.before_message("last").await;
    let told = frames
        .iter()
        .filter_map(|frame| frame["data"]["seq"].as_i64());
    assert_eq!(told.collect::<Vec<_>>(), [1, 2, 2], "{frames:#?}");
}

/// A trigger of the host's whose name is between those of pgchat's, and which makes another update.
const CORRECTION: &str = "
    create function correct() returns trigger language plpgsql as $$ begin
      if pg_trigger_depth() = 1 then update messages set message_type = message_type where seq = 2; end if;
      return null;
    end $$;
    create trigger chat_messages_after_correction after update on messages for each statement execute function correct()";

/// The mark waits for it, and has not seen it either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unread_again_when_a_mark_begins_that_does_not_see_it_stays_unread() {
    for trigger in ["", CORRECTION] {
        let mut stage = stage().await;
        stage.database.execute(trigger).await;
        stage
            .database
            .execute("update messages set is_read = true where seq = 1")
            .await;
        let changing = stage.database.holding(TAKE_BACK).await;
        let mark = format!("{MARK} where not is_read");
        let marking = stage.database.execute(&mark);
        let committing = async {
            until_a_lock_is_waited_for(&stage.database, "the mark waits for the change").await;
            changing.batch_execute("commit").await.expect("its end");
        };
        join(marking, committing).await;
        assert_unread(&mut stage, 1).await;
    }
}

/// The second mark covers less than the first one, and is no repeat of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_transaction_marks_makes_unread_and_marks_again_is_read() {
    let mut stage = stage().await;
    let marks_again = format!("{MARK} where seq = 1");
    let changes = format!(
        "begin; {MARK}; update messages set is_read = false where seq <= 2; {marks_again}; commit"
    );
    stage.database.execute(&changes).await;
    assert_unread(&mut stage, 2).await;
}

/// Or each client that says once more what it has read would cost a flush.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_marks_nothing_writes_nothing() {
    let stage = stage().await;
    stage.database.execute(MARK).await;
    let marking = stage.database.holding("").await;
    let mark = format!("{MARK} where not is_read");
    marking.batch_execute(&mark).await.expect("no message");
    let written = "select pg_current_xact_id_if_assigned() is not null";
    let written = marking.query_one(written, &[]).await.expect("an answer");
    assert!(!written.get::<_, bool>(0));
}
