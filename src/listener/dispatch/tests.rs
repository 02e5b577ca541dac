use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::hub::{Delivery, Subscription};
use crate::model::Beat;
use crate::store::Change;
use crate::testing;

fn dispatcher() -> Dispatcher {
    let hub = testing::hub(1);
    let minute = Duration::from_secs(60);
    let services = testing::services(hub.clone(), minute, minute);
    let (store, live) = (services.store.clone(), services.live.clone());
    Dispatcher::new(
        store,
        hub,
        live,
        ReplicaId(Uuid::nil()),
        1000,
        Arc::default(),
    )
}

/// Any program that can connect to the database can send one.
#[tokio::test]
async fn a_heartbeat_that_was_not_sent_proves_nothing() {
    let mut dispatcher = dispatcher();
    let beats = dispatcher.beats();
    let sent = beats.next();
    for forged in [0, -1, sent.0 + 1, i64::MAX].map(Beat) {
        let echo = dispatcher.dispatch(&heartbeat(forged)).await;
        assert_eq!(echo.expect("one of ours"), None, "{forged:?}");
        assert_eq!(beats.echoed(), None, "{forged:?}");
    }
    // Nor does one of another replica, which counts its own.
    let other = heartbeat_of(ReplicaId(Uuid::max()), sent);
    let echo = dispatcher.dispatch(&other).await;
    assert_eq!(echo.expect("one of ours"), None);
    assert_eq!(beats.echoed(), None);
    let echo = dispatcher.dispatch(&heartbeat(sent)).await;
    assert!(echo.expect("one of ours").is_some());
    assert_eq!(beats.echoed(), Some(sent));
}

#[tokio::test]
async fn a_horizon_that_is_above_its_own_transaction_is_none() {
    let mut dispatcher = dispatcher();
    let mut horizon_after = async |horizon: u64| {
        let text = format!(r#"{{"v":1,"xid":"9","horizon":"{horizon}","at":5}}"#);
        dispatcher.dispatch(&text).await.expect("one of ours");
        dispatcher.hub.position().expect("live").horizon
    };
    let before = horizon_after(1).await;
    assert_eq!(horizon_after(10).await, before);
    assert_eq!(horizon_after(9).await, Horizon(Xid(9)));
}

/// What had ended by then is left out of catch-ups by its number, which the crash may give to something else.
#[tokio::test]
async fn until_a_heartbeat_is_back_a_crash_may_have_taken_back_what_had_ended_at_the_start() {
    let mut dispatcher = dispatcher();
    let incarnation = |number| Incarnation(Uuid::from_u128(number));
    assert!(!dispatcher.may_be_lost_in(incarnation(1)));
    dispatcher.start_after(Snapshot::default());
    for crash in [2, 3] {
        assert!(dispatcher.may_be_lost_in(incarnation(crash)));
        dispatcher.forget(incarnation(crash));
        dispatcher.start_after(Snapshot::default());
    }
    let sent = dispatcher.beats().next();
    let echo = dispatcher.dispatch(&heartbeat(sent)).await;
    assert!(echo.expect("one of ours").is_some());
    assert!(!dispatcher.may_be_lost_in(incarnation(4)));
}

/// By the next session the database may have passed the old horizon.
#[tokio::test]
async fn that_the_database_was_at_an_earlier_moment_is_known_until_all_is_forgotten() {
    let mut dispatcher = dispatcher();
    assert!(!dispatcher.is_set_back(false));
    assert!(dispatcher.is_set_back(true));
    assert!(dispatcher.is_set_back(false), "clients were not told yet");
    dispatcher.forget(Incarnation(Uuid::from_u128(2)));
    assert!(!dispatcher.is_set_back(false));
}

/// What a crash took back had a number, which it may have given to a mark.
#[tokio::test]
async fn what_was_caught_up_with_before_a_crash_hides_no_read_mark_after_it() {
    let mut dispatcher = dispatcher();
    let mark = Subject::Read {
        conversation: ConversationId(Uuid::nil()),
        reader: UserId(Uuid::from_u128(1)),
        xid: Xid(9),
    };
    dispatcher.caught_up = Snapshot::parse("20:20:").expect("a snapshot");
    assert!(dispatcher.was_told(mark, 1));
    dispatcher.forget(Incarnation(Uuid::from_u128(2)));
    assert!(!dispatcher.was_told(mark, 1));
}

fn heartbeat(beat: Beat) -> String {
    heartbeat_of(ReplicaId(Uuid::nil()), beat)
}

fn heartbeat_of(replica: ReplicaId, Beat(beat): Beat) -> String {
    format!(r#"{{"v":1,"xid":"9","at":5,"heartbeat":{{"replica":"{replica}","beat":{beat}}}}}"#)
}

const ROW: Uuid = Uuid::from_u128(7);
const RECIPIENTS: [UserId; 2] = [UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2))];

/// A notification of one event of the message [`ROW`]; without data, as if that did not fit.
fn notification(event_type: &str, revision: i64, data: Option<Value>) -> String {
    let event = json!({"type": event_type, "userId": RECIPIENTS[0], "recipients": RECIPIENTS, "message": ROW, "revision": revision,
        "data": data, "seq": 5});
    json!({"v": 1, "xid": (100 + revision).to_string(), "at": 5, "events": [event]}).to_string()
}

/// What a catch-up reads of it.
fn change(event_type: &str, revision: i64) -> Change {
    Change {
        event_type: event_type.to_owned(),
        later_type: "message_updated".to_owned(),
        user: RECIPIENTS[0],
        recipients: RECIPIENTS,
        subject: ROW,
        conversation: ConversationId(Uuid::nil()),
        version: revision,
        xid: Xid(100 + revision.unsigned_abs()),
        create_xid: Some(Xid(101)),
        data: "{}".to_owned(),
    }
}

fn frames(socket: &mut Subscription) -> Vec<String> {
    let next = || match socket.try_next()? {
        Delivery::Event(event) => Some(event.frame.as_str().to_owned()),
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(next).collect()
}

/// There is no database here, so whatever is read fails.
#[tokio::test]
async fn what_did_not_fit_is_read_back_where_somebody_gets_it_and_nowhere_else() {
    let mut dispatcher = dispatcher();
    let stranger = UserId(Uuid::from_u128(3));
    let _others = dispatcher.hub.register(stranger).expect("room");
    let huge = notification("chat_message", 1, None);
    let heard = dispatcher.dispatch(&huge).await;
    assert_eq!(heard.expect("nothing is read"), None);
    let _socket = dispatcher.hub.register(RECIPIENTS[1]).expect("room");
    let edited = notification("message_updated", 2, None);
    assert!(dispatcher.dispatch(&edited).await.is_err());
}

#[tokio::test]
async fn what_concerned_no_socket_is_no_news_to_a_catch_up() {
    for data in [None, Some(json!({}))] {
        let mut dispatcher = dispatcher();
        let heard = notification("chat_message", 1, data);
        dispatcher.dispatch(&heard).await.expect("nothing is read");
        assert_eq!(dispatcher.stats.events.load(Ordering::Relaxed), 1);
        let news = |event_type, revision| {
            let change = change(event_type, revision);
            let told = dispatcher.news_of(&change);
            told.map(|told| told.event_type.name().to_owned())
        };
        assert_eq!(news("chat_message", 1), None);
        // Whoever has come since has loaded the message.
        let expected = Some("message_updated".to_owned());
        assert_eq!(news("chat_message", 2), expected);
    }
}

/// It is asked before what did not fit is read back, which takes its time.
#[tokio::test]
async fn who_comes_after_it_was_asked_whom_an_event_concerns_gets_what_is_heard_from_then_on() {
    let mut dispatcher = dispatcher();
    let huge = notification("chat_message", 1, None);
    let payload = understood(&huge).expect("of this version").expect("ours");
    let mut socket = dispatcher.hub.register(RECIPIENTS[1]).expect("room");
    let position = dispatcher.hub.position().expect("live");
    dispatcher.deliver_all(&payload, &HashMap::new(), &position);
    assert_eq!(frames(&mut socket), [""; 0]);

    let edited = notification("message_updated", 2, Some(json!({"content": "edited"})));
    dispatcher.dispatch(&edited).await.expect("nothing is read");
    let frames = frames(&mut socket);
    assert_eq!(frames.len(), 1);
    assert!(frames[0].contains("edited"), "{frames:?}");
}
