//! The largest messages that there are, many of them: what a replica holds of them in memory is bounded, and nobody misses one.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::Method;
use tokio::net::TcpSocket;
use uuid::Uuid;

use crate::support::*;

/// As many bytes as a content may have, each of which takes six in JSON.
const CONTENT: &str = "repeat(e'\\x01', 65536)";

/// Of one such message as JSON.
const MESSAGE_BYTES: usize = 6 * 65536;

/// Of a page.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Of all large answers that are on their way.
const ANSWERS_BYTES: usize = 64 * 1024 * 1024;

/// Stores so many of them by SQL, a few at a time: an open transaction holds the horizon of all other tests back.
async fn fill(database: &Database, conversation: Uuid, count: usize) {
    const AT_ONCE: usize = 20;
    let client = database.sql().await;
    for stored in (0..count).step_by(AT_ONCE) {
        let portion = AT_ONCE.min(count - stored);
        let insert = format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{conversation}', '{ALICE}', {CONTENT} from generate_series(1, {portion})"
        );
        client.batch_execute(&insert).await.expect("the messages");
    }
}

/// How many KiB more than `before`; 0 where the system does not tell.
fn growth(replica: &Replica, before: Option<u64>) -> u64 {
    let now = replica.resident_kib().unwrap_or(0);
    now.saturating_sub(before.unwrap_or(now))
}

struct Page {
    /// What stands behind `"seq":`, in the order of the page.
    seqs: Vec<i64>,
    has_more: bool,
    bytes: usize,
}

async fn page(api: &Api, path: &str) -> Page {
    page_if_there_is_room(api, path).await.expect("a page")
}

/// Read by hand: to parse and to check hundreds of megabytes takes longer than a test may.
async fn page_if_there_is_room(api: &Api, path: &str) -> Option<Page> {
    let response = api.request(Method::GET, path).send().await;
    let response = response.expect("an answer");
    if response.status().as_u16() == 503 {
        return None;
    }
    assert_eq!(response.status().as_u16(), 200, "{path}");
    let text = response.text().await.expect("a whole answer");
    let seqs = text
        .split("\"seq\":")
        .skip(1)
        .map(|rest| {
            let digits = rest.split(',').next().expect("a number");
            digits.parse().expect("a number")
        })
        .collect();
    Some(Page {
        seqs,
        has_more: text.ends_with("],\"hasMore\":true}"),
        bytes: text.len(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_missed_more_than_a_replay_holds_reloads_and_costs_no_more_than_that() {
    const CLIENTS: usize = 8;
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    drop(replica);
    fill(&database, conversation, 1001).await;

    // Eight times 8 MiB are read, however long that takes.
    let replica = Replica::start(&database, &[("DB_TIMEOUT_SECONDS", "300")]).await;
    drop(Socket::connect(&replica, BORIS).await);
    let before = replica.resident_kib();
    let coming = (0..CLIENTS).map(|_| Socket::resume_refused(&replica, BORIS, &cursor));
    within("all are connected", join_all(coming)).await;
    // Each may have read 8 MiB (`REPLAY_BYTES`), of 394 MB that it missed.
    let kib = growth(&replica, before);
    assert!(kib < 100 * 1024, "{kib} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_pages_end_early_and_whoever_pages_on_misses_nothing() {
    const MESSAGES: i64 = 60;
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    fill(&database, conversation, 60).await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let before = replica.resident_kib();
    let path = format!("/api/v1/chat/conversations/{conversation}/messages?limit=200");
    let next: [fn(&[i64]) -> String; 3] = [
        |seen| format!("&offset={}", seen.len()),
        |seen| match seen.last() {
            Some(seq) => format!("&before={seq}"),
            None => String::new(),
        },
        |seen| format!("&after={}", seen.last().unwrap_or(&0)),
    ];
    for next in next {
        let mut seen: Vec<i64> = Vec::new();
        loop {
            let page = page(&api, &format!("{path}{}", next(&seen))).await;
            // As full as it may be, but for the last.
            assert!(page.bytes < PAGE_BYTES + 1024, "{} bytes", page.bytes);
            assert!(!page.has_more || page.bytes > PAGE_BYTES - MESSAGE_BYTES - 1024);
            assert!(!page.seqs.is_empty());
            seen.extend(page.seqs);
            if !page.has_more {
                break;
            }
        }
        let ascending = seen.is_sorted();
        seen.sort_unstable();
        assert_eq!(seen, (1..=MESSAGES).collect::<Vec<_>>());
        let forwards = next(&[]).starts_with("&after");
        assert_eq!(ascending, forwards);
    }
    // Many at once, of which one conversation has two at a time: the others are told to come back.
    let asking = (0..16).map(|_| {
        eventually_within(3 * DEADLINE, "a page", || {
            page_if_there_is_room(&api, &path)
        })
    });
    join_all(asking).await;
    let kib = growth(&replica, before);
    assert!(kib < 100 * 1024, "{kib} KiB");
}

#[tokio::test]
async fn a_message_that_is_longer_than_a_page_has_one_of_its_own() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    // By another program, which may insert what it likes.
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{conversation}', '{ALICE}', repeat('x', case n when 2 then 5000000 else 1 end)
               from generate_series(1, 3) n order by n"
        ))
        .await;
    let replica = Replica::start(&database, &[]).await;
    let path = format!("/api/v1/chat/conversations/{conversation}/messages?limit=200");
    let api = replica.api();
    let mut pages = Vec::new();
    for offset in 0..3 {
        let page = page(&api, &format!("{path}&offset={offset}")).await;
        pages.push((page.seqs, page.has_more));
    }
    let wanted = [(vec![3], true), (vec![2], true), (vec![1], false)];
    assert_eq!(pages, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_conversations_and_searches_end_early_too() {
    const COUNT: usize = 25;
    let database = Database::fresh().await;
    for user in database.add_users(25).await {
        let conversation = database.conversation(ALICE, user).await;
        // Shorter than the others by the word, and by the blank behind it.
        let content = "'heron ' || repeat(e'\\x01', 65530)";
        database
            .execute(&format!(
                "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', {content})"
            ))
            .await;
    }
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();
    api.found(ALICE, "q=nothing").await;
    for path in [
        format!("/api/v1/chat/conversations/{ALICE}?limit=200"),
        format!("/api/v1/chat/conversations/{ALICE}?limit=200&q=user"),
        format!("/api/v1/chat/users/{ALICE}/search?q=heron&limit=200"),
    ] {
        let mut seen = BTreeSet::new();
        let mut count = 0;
        loop {
            let response = api
                .request(Method::GET, &format!("{path}&offset={count}"))
                .send()
                .await
                .expect("an answer");
            let text = response.text().await.expect("a whole answer");
            assert!(text.len() < PAGE_BYTES + 1024, "{} bytes", text.len());
            let senders: Vec<&str> = text.split("\"conversationId\":").skip(1).collect();
            count += senders.len();
            seen.extend(senders.iter().map(|rest| rest[..38].to_owned()));
            if text.ends_with("],\"hasMore\":false}") {
                break;
            }
            assert!(text.len() > PAGE_BYTES - MESSAGE_BYTES - 1024, "{path}");
        }
        assert_eq!((seen.len(), count), (COUNT, COUNT), "{path}");
    }
}

/// A conversation of which one page is as large as a page may be, of Alice and each of these.
async fn full(database: &Database, others: &[Uuid]) -> Vec<String> {
    let mut paths = Vec::new();
    for other in others {
        let conversation = database.conversation(ALICE, *other).await;
        fill(database, conversation, 20).await;
        paths.push(format!(
            "/api/v1/chat/conversations/{conversation}/messages?limit=200"
        ));
    }
    paths
}

/// A connection for which the system takes little that is not read.
async fn narrow(replica: &Replica) -> Raw {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("its buffer");
    let address = ([127, 0, 0, 1], replica.port()).into();
    Raw::over(socket.connect(address).await.expect("a connection"))
}

/// Asks, and takes nothing of the answer but what the system takes for it. `None`: there was no room.
async fn asks_and_takes_nothing(replica: &Replica, path: &str) -> Option<Raw> {
    let mut raw = narrow(replica).await;
    raw.request(&format!("GET {path}"), &[]).await;
    match raw.status().await {
        200 => Some(raw),
        503 => None,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_that_nobody_takes_are_bounded_and_small_ones_are_given() {
    const CLIENTS: usize = 60;
    let database = Database::fresh().await;
    let others = [
        BORIS, CARLA, DAVID, ELENA, FELIX, GRETA, HENRI, JONAS, KATIA,
    ];
    let paths = full(&database, &others).await;
    let replica = Replica::start(&database, &[("STALL_TIMEOUT_SECONDS", "300")]).await;
    let api = replica.api();
    let other = api.open_conversation(CARLA, DAVID).await;
    api.send(other, CARLA, "small").await;
    let before = replica.resident_kib();

    let mut open = Vec::new();
    let mut refused = 0;
    for number in 0..CLIENTS {
        let path = &paths[number % paths.len()];
        match asks_and_takes_nothing(&replica, path).await {
            Some(raw) => open.push(raw),
            None => refused += 1,
        }
    }
    assert!(refused > 0, "all {CLIENTS} were answered");
    // Some of each is in the system's buffers.
    assert!(open.len() >= ANSWERS_BYTES / PAGE_BYTES, "{}", open.len());
    let kib = growth(&replica, before);
    assert!(kib < 150 * 1024, "{kib} KiB");
    assert_eq!(
        page(
            &api,
            &format!("/api/v1/chat/conversations/{other}/messages")
        )
        .await
        .seqs,
        [1]
    );

    drop(open);
    eventually("there is room again", || async {
        let response = api.request(Method::GET, &paths[0]).send().await.ok()?;
        (response.status().as_u16() == 200).then_some(())
    })
    .await;
}

/// Each has one message, but there is one on its way to every connection that nobody reads from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_and_messages_that_nobody_takes_are_bounded_like_pages() {
    const CONNECTIONS: usize = 40;
    // One after the other: more than the system takes for a client.
    const ANSWERS: usize = 16;
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    fill(&database, conversation, 1).await;
    let replica = Replica::start(&database, &[("STALL_TIMEOUT_SECONDS", "300")]).await;
    let api = replica.api();
    let small = database.conversation(ALICE, CARLA).await;
    let path_of = |user, id| format!("/api/v1/chat/users/{user}/conversations/{id}");
    let path = path_of(ALICE, conversation);

    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut raw = narrow(&replica).await;
        for _ in 0..ANSWERS {
            raw.request(&format!("GET {path}"), &[]).await;
        }
        open.push(raw);
    }
    eventually("she has her share", || async {
        (api.get(&path).await.status == 503).then_some(())
    })
    .await;
    let opened = api.try_open_conversation(ALICE, BORIS).await;
    opened.refused(503, "unavailable");
    let sql = "select id from messages where conversation_id = $1";
    let row = database.sql().await.query_one(sql, &[&conversation]).await;
    let message: Uuid = row.expect("its message").get(0);
    let message_of = |user| format!("/api/v1/chat/messages/{message}?user_id={user}");
    let alone = api.get(&message_of(ALICE)).await;
    alone.refused(503, "unavailable");
    api.get(&message_of(BORIS)).await.ok(200);
    api.get(&path_of(ALICE, small)).await.ok(200);
    assert_eq!(api.open_conversation(ALICE, CARLA).await, small);
    let others = api.get(&path_of(BORIS, conversation)).await.ok(200);
    assert_eq!(others["id"], conversation.to_string());
    assert_eq!(api.open_conversation(BORIS, ALICE).await, conversation);

    drop(open);
    eventually("there is room again", || async {
        (api.get(&path).await.status == 200).then_some(())
    })
    .await;
}

/// In trusted mode nobody is named there: the conversation counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_of_large_answers_leaves_the_others_their_room() {
    const CLIENTS: usize = 60;
    let database = Database::fresh().await;
    let paths = full(&database, &[BORIS, CARLA]).await;
    let replica = Replica::start(&database, &[("STALL_TIMEOUT_SECONDS", "300")]).await;
    let api = replica.api();

    let mut open = Vec::new();
    for _ in 0..CLIENTS {
        open.push(asks_and_takes_nothing(&replica, &paths[0]).await);
    }
    let given = open.iter().flatten().count();
    assert!((2..CLIENTS).contains(&given), "{given} were given");
    let others = (0..2).map(|_| page(&api, &paths[1]));
    for page in within("the others' pages", join_all(others)).await {
        assert!(page.bytes > PAGE_BYTES - MESSAGE_BYTES - 1024);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_of_their_replays_leaves_the_others_their_room() {
    const SOCKETS: usize = 15;
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    // Room for 32 MiB.
    let settings = [("STALL_TIMEOUT_SECONDS", "300"), ("REPLAY_PARALLEL", "4")];
    let replica = Replica::start(&database, &settings).await;
    let cursor = settled_cursor(&replica, CARLA).await;
    // 3 MiB, and less than 4 where the conversation is among them, with its last message.
    fill(&database, conversation, 8).await;

    let path = format!("/ws?user_id={ALICE}&cursor={cursor}");
    let mut open = Vec::new();
    for _ in 0..SOCKETS {
        open.push(Socket::connect_narrow_to(&replica, ALICE, &path).await);
    }
    let resumed = open.iter().filter(|socket| socket.is_resumed());
    assert_eq!(resumed.count(), 1, "of {SOCKETS} sockets");
    let mut boris = Socket::resume(&replica, BORIS, &cursor).await;
    boris.collect_messages(8).await;
    drop(open);
    eventually("she has her share again", || async {
        let socket = Socket::come_back(&replica, ALICE, &cursor).await;
        socket.is_resumed().then_some(())
    })
    .await;
}
