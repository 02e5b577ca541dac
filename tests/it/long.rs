//! Long messages, which PostgreSQL takes a while for: they are stored beside the others.

use serde_json::json;

use crate::support::*;

/// Of more bytes than go with the others.
fn long() -> String {
    "long ".repeat(2_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_long_message_is_stored_short_ones_of_other_flows_are() {
    let database = Database::fresh().await;
    database
        .execute_as_owner(
            "create table host_door as select true as closed;
             grant select on host_door to public;
             create function host_slow() returns trigger language plpgsql as $$
             begin
               if new.content like 'takes %' then
                 perform pg_sleep(substr(new.content, 7)::float);
               end if;
               -- Until the test opens it; how often that is looked at does not matter.
               while length(new.content) > 8192 and exists (select from host_door d where d.closed) loop
                 perform pg_sleep(0.01);
               end loop;
               return null;
             end $$;
             create trigger host_slow after insert on messages for each row execute function host_slow()",
        )
        .await;
    let replica = Replica::start(&database, &[("WRITE_TIMEOUT_SECONDS", "60")]).await;
    let api = replica.api();
    let with_boris = database.conversation(ALICE, BORIS).await;
    let with_carla = database.conversation(ALICE, CARLA).await;
    let elsewhere = database.conversation(CARLA, DAVID).await;
    // Answers take seconds here, for all that it has learnt: it gives up none of what follows.
    for lesson in ["takes 1", "takes 3.5"] {
        api.send(elsewhere, CARLA, lesson).await;
    }
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut david = Socket::connect(&replica, DAVID).await;
    let contents = ["ahead", &long(), "behind", "and another", &long()];
    let mut in_order = Vec::new();
    for content in contents {
        let data = json!({"conversationId": with_boris, "content": content});
        in_order.push(alice.request("send_message", data).await);
    }
    let short = json!({"conversationId": with_carla, "content": "short"});
    let short = alice.request("send_message", short).await;
    assert_eq!(alice.answer(&short).await["type"], "ack");
    let sent = api.send(elsewhere, CARLA, "short").await;
    let shown = |frame: &serde_json::Value| frame["data"]["id"] == sent["id"];
    david.expect_where("it", shown).await;
    let long_ones = "messages where length(content) > 8192";
    assert_eq!(database.count(long_ones).await, 0);
    assert_eq!(
        api.metric("pgchat_writer_retries_total").await,
        0.0,
        "they waited until it was given up"
    );
    assert_eq!(
        api.metric("pgchat_writer_slow_lane_total").await,
        0.0,
        "nobody holds anything"
    );

    database
        .execute_as_owner("update host_door set closed = false")
        .await;
    for (request, seq) in in_order.iter().zip(1..) {
        let answer = alice.answer(request).await;
        assert_eq!(answer["data"]["message"]["seq"], seq, "{answer}");
    }
    let history = api.history(with_boris).await;
    let stored: Vec<_> = history.iter().map(|it| it["content"].as_str()).collect();
    assert_eq!(stored, contents.map(Some));
}
