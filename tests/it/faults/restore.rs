//! The database is restored to an earlier moment: what clients have seen may be gone, and the transaction numbers in their
//! cursors are given out again.

use super::*;

/// What happened before the backup and after it, and who has seen both.
struct Story {
    replica: Replica,
    database: Database,
    conversation: uuid::Uuid,
    boris: Socket,
    /// From after the backup, by some transactions.
    late_cursor: String,
}

async fn with_a_backup(cluster: &std::sync::Arc<Cluster>) -> (Story, std::path::PathBuf) {
    with_a_backup_of(cluster, "select", "select").await
}

/// What this SQL does is in the backup, and undone by the second one after it.
async fn with_a_backup_of(
    cluster: &std::sync::Arc<Cluster>,
    done: &str,
    undone: &str,
) -> (Story, std::path::PathBuf) {
    let database = Database::fresh_on(cluster).await;
    let replica = Replica::start(&database, &quick(&[])).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    replica.api().send(conversation, ALICE, "kept").await;
    database.execute(done).await;
    cluster.stop();
    let saved = cluster.save();
    cluster.start();
    database.execute(undone).await;
    until_healthy(&replica).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    for number in 0..20 {
        let content = format!("lost {number}");
        replica.api().send(conversation, ALICE, &content).await;
    }
    boris.before_message("lost 19").await;
    let late_cursor = settled_cursor(&replica, BORIS).await;
    let story = Story {
        replica,
        database,
        conversation,
        boris,
        late_cursor,
    };
    (story, saved)
}

impl Story {
    async fn send(&self, content: &str) {
        let api = self.replica.api();
        api.send(self.conversation, ALICE, content).await;
    }

    /// Goes on until the transaction numbers of the late cursor are given out again.
    async fn until_the_numbers_are_used_up(&self) {
        use_numbers_up_to(&self.database, self.late_horizon() + 10).await;
    }

    fn late_horizon(&self) -> i64 {
        let (_, horizon) = self.late_cursor.rsplit_once('.').expect("a cursor");
        i64::from_str_radix(horizon, 16).expect("its horizon")
    }

    /// Comes back with this cursor, must reload, and is told from where to go on.
    async fn reload(&self, cursor: &str) -> String {
        let (_boris, resync) = Socket::resume_refused(&self.replica, BORIS, cursor).await;
        cursor_of(&resync)
    }

    async fn contents_since(&self, cursor: &str) -> Vec<String> {
        let mut boris = Socket::resume(&self.replica, BORIS, cursor).await;
        self.send("the end").await;
        let frames = boris.before_message("the end").await;
        frames
            .iter()
            .filter_map(|frame| Some(frame["data"]["content"].as_str()?.to_owned()))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_whose_files_went_back_is_noticed_and_clients_reload() {
    let cluster = Cluster::private();
    let (mut story, saved) = with_a_backup(&cluster).await;

    cluster.stop();
    cluster.go_back(&saved, false);
    cluster.start();
    until_healthy(&story.replica).await;

    story.boris.expect("resync_required").await;
    let history = story.replica.api().history(story.conversation).await;
    assert_eq!(history.len(), 1);
    let cursor = story.reload(&story.late_cursor).await;
    story.send("written anew").await;
    story.until_the_numbers_are_used_up().await;
    assert_eq!(story.contents_since(&cursor).await, ["written anew"]);
    // The socket that was there all the time goes on as well.
    story.boris.before_message("the end").await;
}

/// A session that finds it has more to ask before clients are told, and ends where it is not answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_back_is_noticed_though_it_has_gone_on_by_the_next_session() {
    let cluster = Cluster::private();
    let [unanswered, answered] = [
        "alter function chat_snapshot() rename to chat_snapshot_later",
        "alter function chat_snapshot_later() rename to chat_snapshot",
    ];
    let (mut story, saved) = with_a_backup_of(&cluster, unanswered, answered).await;
    // Far beyond where the listener was.
    let gone_on = story.late_horizon() + 10_000;

    cluster.stop();
    cluster.go_back(&saved, false);
    cluster.start();
    eventually("it is found", || async {
        let log = story.replica.log();
        log.contains("at an earlier moment").then_some(())
    })
    .await;
    use_numbers_up_to(&story.database, gone_on).await;
    story.database.execute(answered).await;
    until_healthy(&story.replica).await;
    story.boris.expect("resync_required").await;
    let history = story.replica.api().history(story.conversation).await;
    assert_eq!(history.len(), 1);
    story.send("written anew").await;
    story.boris.before_message("written anew").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_recovery_no_cursor_from_before_it_is_ever_taken_again() {
    let cluster = Cluster::private();
    let (mut story, saved) = with_a_backup(&cluster).await;

    cluster.stop();
    cluster.go_back(&saved, true);
    cluster.start();
    until_healthy(&story.replica).await;

    story.boris.expect("resync_required").await;
    let cursor = story.reload(&story.late_cursor).await;
    story.send("written anew").await;
    story.until_the_numbers_are_used_up().await;
    // Without a new timeline it would pass for one of ours now, and "written anew" would be missed.
    story.reload(&story.late_cursor).await;
    assert_eq!(story.contents_since(&cursor).await, ["written anew"]);
}

impl Story {
    /// By its number.
    async fn timeline(&self) -> String {
        let number = "select ltrim(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), '0')";
        let row = self.database.sql().await.query_one(number, &[]).await;
        row.expect("its number").get(0)
    }
}

/// The first backup was a bad one, say. Nothing tells PostgreSQL that a timeline of that number was there before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_second_recovery_no_cursor_from_the_first_is_ever_taken_again() {
    let cluster = Cluster::private();
    let (mut story, saved) = with_a_backup(&cluster).await;
    let recover = || {
        cluster.stop();
        cluster.go_back(&saved, true);
        cluster.start();
    };
    recover();
    until_healthy(&story.replica).await;
    story.boris.expect("resync_required").await;
    let first = story.timeline().await;
    for number in 0..20 {
        story.send(&format!("lost again {number}")).await;
    }
    story.boris.before_message("lost again 19").await;
    story.late_cursor = settled_cursor(&story.replica, BORIS).await;

    recover();
    until_healthy(&story.replica).await;
    assert_eq!(story.timeline().await, first);
    story.boris.expect("resync_required").await;
    let cursor = story.reload(&story.late_cursor).await;
    story.send("written anew").await;
    story.until_the_numbers_are_used_up().await;
    story.reload(&story.late_cursor).await;
    assert_eq!(story.contents_since(&cursor).await, ["written anew"]);
}

/// As docs/operations.md says: with the history of the timelines that the replaced database had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_that_knows_of_earlier_ones_begins_a_timeline_that_was_not_there_before() {
    const GUIDE: &str = include_str!("../../../docs/operations.md");
    for step in [
        "cp -p \"$REPLACED\"/pg_wal/*.history \"$PGDATA/pg_wal/\"",
        "touch \"$PGDATA/recovery.signal\"",
        "restore_command = 'false'\\nrecovery_target_timeline = 'current'\\n",
    ] {
        assert!(GUIDE.contains(step), "{step}");
    }
    let cluster = Cluster::private();
    let (story, saved) = with_a_backup(&cluster).await;
    for timeline in ["2", "3", "4"] {
        cluster.stop();
        cluster.go_back_knowing_what_was(&saved);
        cluster.start();
        until_healthy(&story.replica).await;
        assert_eq!(story.timeline().await, timeline);
    }
}

/// As with a snapshot of a hosted database, where nobody can ask for a recovery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_given_another_identity_by_hand_has_all_clients_reload() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &QUICK).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    replica.api().send(conversation, ALICE, "before").await;
    boris.before_message("before").await;
    let before = settled_cursor(&replica, BORIS).await;

    let renew = "select chat_renew_identity()";
    database.execute_as_owner(renew).await;
    boris.expect("resync_required").await;
    until_healthy(&replica).await;
    let (_boris, resync) = Socket::resume_refused(&replica, BORIS, &before).await;
    let after = cursor_of(&resync);
    replica.api().send(conversation, ALICE, "after").await;
    let mut back = Socket::resume(&replica, BORIS, &after).await;
    back.before_message("after").await;
    boris.before_message("after").await;
}

/// The cluster, the database and the timeline are the same; the tables are others, by the same names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_that_is_restored_in_place_is_noticed_and_clients_reload() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &quick(&[])).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    replica.api().send(conversation, ALICE, "kept").await;
    let Some(dump) = database.dump() else {
        eprintln!("there is no pg_dump for this version of PostgreSQL");
        return;
    };
    let mut boris = Socket::connect(&replica, BORIS).await;
    replica.api().send(conversation, ALICE, "lost").await;
    boris.before_message("lost").await;
    let late = settled_cursor(&replica, BORIS).await;

    database.restore(&dump).await;

    boris.expect("resync_required").await;
    until_healthy(&replica).await;
    let contents = async || {
        let history = replica.api().history(conversation).await;
        let content = |message: &serde_json::Value| message["content"].as_str().map(str::to_owned);
        history.iter().filter_map(content).collect::<Vec<_>>()
    };
    assert_eq!(contents().await, ["kept"]);
    Socket::resume_refused(&replica, BORIS, &late).await;
    let fresh = settled_cursor(&replica, BORIS).await;

    // What writes the same table anew is no restore.
    database.execute("vacuum full messages").await;
    let mut again = Socket::resume(&replica, BORIS, &fresh).await;
    replica
        .api()
        .send(conversation, ALICE, "written anew")
        .await;
    assert_eq!(
        again.before_message("written anew").await,
        Vec::<serde_json::Value>::new()
    );
}
