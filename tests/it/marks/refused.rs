//! What is not made together with the others, and what fails by itself.

use super::{Crowd, insert};
use crate::support::*;

/// Of one of the readers, by the host, with an SQLSTATE; and what that is called over HTTP.
struct Refusal {
    reader: usize,
    code: &'static str,
    status: u16,
    answer: &'static str,
}

impl Crowd {
    /// Has a trigger of the host's refuse the marks of these readers, with these codes.
    async fn refuse(&self, refusals: &[Refusal]) {
        let mut raise = String::new();
        for refusal in refusals {
            let (conversation, _) = self.readers[refusal.reader];
            raise += &format!(
                "if new.conversation_id = '{conversation}' then
                   raise exception 'not this one' using errcode = '{}';
                 end if; ",
                refusal.code
            );
        }
        self.database
            .execute(&format!(
                "create function refuse() returns trigger language plpgsql security definer as $$
                 begin
                   {raise}
                   return new;
                 end $$;
                 create trigger refuse before update on messages for each row execute function refuse()"
            ))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_held_delays_its_own_mark_and_none_of_those_at_once_with_it() {
    const HELD: usize = 5;
    let mut crowd = Crowd::of(12).await;
    let held = crowd.readers[HELD].0;
    crowd.begin().await;
    let mut marks = crowd.all_mark();
    crowd.until_waiting(12).await;
    // The last of three.
    let holder = crowd
        .database
        .holding(&format!(
            "select from messages where conversation_id = '{held}' and seq = 3 for update"
        ))
        .await;
    crowd.go_on().await;
    for _ in 0..11 {
        let reply = within("an answer", marks.join_next()).await;
        let (number, reply) = reply.expect("another").expect("an answer");
        assert_ne!(number, HELD, "it is held");
        crowd.assert_is_marked(number, &reply);
    }
    assert_eq!(crowd.transactions().await, 1);
    let of_it = format!("messages where conversation_id = '{held}' and is_read");
    assert_eq!(
        crowd.database.count(&of_it).await,
        0,
        "all of it or nothing"
    );
    holder.batch_execute("commit").await.expect("its end");
    let reply = within("an answer", marks.join_next()).await;
    let (number, reply) = reply.expect("the last").expect("an answer");
    crowd.assert_is_marked(number, &reply);
}

/// Whatever the host's trigger says: also that the connection is gone, or that the statement takes too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_that_the_host_refuses_fail_none_of_those_at_once_with_them() {
    const REFUSALS: [Refusal; 5] = [
        refusal(1, "PC403", 403, "refused"),
        refusal(5, "P0001", 500, "internal"),
        refusal(8, "08006", 503, "unavailable"),
        refusal(12, "40001", 503, "unavailable"),
        refusal(3, "57014", 503, "unavailable"),
    ];
    // By the last one nobody knows whether it is of one mark.
    for (refusals, most) in [(&REFUSALS[..4], 8), (&REFUSALS[4..], 15)] {
        let mut crowd = Crowd::of(16).await;
        crowd.refuse(refusals).await;
        crowd.begin().await;
        let mut marks = crowd.all_mark();
        crowd.until_waiting(16).await;
        crowd.go_on().await;
        while let Some(reply) = within("an answer", marks.join_next()).await {
            let (number, reply) = reply.expect("an answer");
            let Some(refused) = refusals.iter().find(|refused| refused.reader == number) else {
                crowd.assert_is_marked(number, &reply);
                continue;
            };
            let words = reply.refused(refused.status, refused.answer);
            assert_eq!(words == "not this one", refused.status == 403, "{words}");
            let unread = crowd
                .replica
                .api()
                .unread_count(crowd.readers[number].1)
                .await;
            assert_eq!(unread, 1 + number as i64 % 3, "{}", refused.code);
        }
        // By halves: of four among sixteen, two for each of them at most.
        let transactions = crowd.transactions().await;
        assert!(transactions <= most, "{transactions}");
    }
}

const fn refusal(reader: usize, code: &'static str, status: u16, answer: &'static str) -> Refusal {
    Refusal {
        reader,
        code,
        status,
        answer,
    }
}

/// Nobody knows then whether it was made: each is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_whose_connection_is_lost_are_made_and_only_the_one_that_breaks_it_is_refused() {
    const BREAKS: usize = 4;
    let mut crowd = Crowd::of(9).await;
    let (conversation, _) = crowd.readers[BREAKS];
    crowd
        .database
        .execute(&format!(
            "create function breaks() returns trigger language plpgsql security definer as $$
             begin
               if new.conversation_id = '{conversation}' then
                 perform pg_terminate_backend(pg_backend_pid());
               end if;
               return new;
             end $$;
             create trigger breaks before update on messages for each row execute function breaks()"
        ))
        .await;
    crowd.begin().await;
    let mut marks = crowd.all_mark();
    crowd.until_waiting(9).await;
    crowd.go_on().await;
    while let Some(reply) = within("an answer", marks.join_next()).await {
        match reply.expect("an answer") {
            (BREAKS, reply) => drop(reply.refused(503, "unavailable")),
            (number, reply) => crowd.assert_is_marked(number, &reply),
        }
    }
    assert_eq!(crowd.transactions().await, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_of_very_many_or_very_long_messages_is_made_alone_and_the_others_together() {
    let mut crowd = Crowd::of(9).await;
    let (many, many_reader) = crowd.readers[0];
    let (long, long_reader) = crowd.readers[1];
    insert(&crowd.database, many, 100).await;
    let insert_long = format!(
        "insert into messages (conversation_id, sender_id, content) values ('{long}', '{ALICE}', repeat('x', 16384))"
    );
    crowd.database.execute(&insert_long).await;
    crowd.begin().await;
    let mut marks = crowd.all_mark();
    crowd.until_waiting(9).await;
    crowd.go_on().await;
    while let Some(reply) = within("an answer", marks.join_next()).await {
        match reply.expect("an answer") {
            (0, reply) => assert_eq!(reply.ok(200)["markedCount"], 101),
            (1, reply) => assert_eq!(reply.ok(200)["markedCount"], 3),
            (number, reply) => crowd.assert_is_marked(number, &reply),
        }
    }
    assert_eq!(crowd.transactions().await, 3);
    for reader in [many_reader, long_reader] {
        assert_eq!(crowd.replica.api().unread_count(reader).await, 0);
    }
}
