mod interleavings;

use uuid::Uuid;

use super::*;
use crate::model::MessageId;
use crate::schema::request_name::RequestName;
use crate::ws::protocol::Draft;

fn conversation(n: u8) -> ConversationId {
    ConversationId(Uuid::from_u128(n.into()))
}

fn send(n: u8) -> Command {
    Command::SendMessage(Draft {
        conversation: conversation(n),
        content: "x".to_owned(),
        message_type: None,
        client_message_id: None,
    })
}

fn large_send(n: u8, bytes: usize) -> Command {
    Command::SendMessage(Draft {
        conversation: conversation(n),
        content: "x".repeat(bytes / 2),
        message_type: Some("x".repeat(bytes / 4)),
        client_message_id: Some("x".repeat(bytes - bytes / 2 - bytes / 4)),
    })
}

fn request(command: Command) -> Request {
    Request { id: None, command }
}

fn mark_read(n: u8) -> Command {
    Command::Row(RowCommand::MarkRead {
        conversation: conversation(n),
        up_to: None,
    })
}

fn typing(n: u8) -> Command {
    Command::Row(RowCommand::Typing {
        conversation: conversation(n),
        is_typing: true,
    })
}

fn edit(n: u8, bytes: usize) -> Command {
    Command::Row(RowCommand::EditMessage {
        message: MessageId(Uuid::from_u128(n.into())),
        content: "x".repeat(bytes),
    })
}

fn delete(n: u8) -> Command {
    Command::Row(RowCommand::DeleteMessage {
        message: MessageId(Uuid::from_u128(n.into())),
    })
}

/// Offers a command that must start at once.
fn started(in_flight: &mut InFlight<()>, id: &str, command: Command) -> CommandId {
    let request = Request {
        id: Some(RequestName::Text(id.to_owned())),
        command,
    };
    in_flight
        .offer(request, None)
        .expect("must start at once")
        .command_id
}

/// Offers a command that must wait, and keep nothing else from being read.
fn waits(in_flight: &mut InFlight<()>, id: &str, command: Command) {
    let request = Request {
        id: Some(RequestName::Text(id.to_owned())),
        command,
    };
    assert!(in_flight.offer(request, None).is_none(), "{id} must wait");
    assert!(in_flight.startable().is_none(), "{id} must wait");
    assert!(in_flight.accepting());
}

/// Starts the only one that waits no longer.
fn starts(in_flight: &mut InFlight<()>) -> CommandId {
    let started = in_flight.startable().expect("waits no longer");
    assert!(in_flight.startable().is_none(), "one at a time");
    started.command_id
}

fn answered(in_flight: &mut InFlight<()>) -> Vec<String> {
    std::iter::from_fn(|| in_flight.answerable())
        .map(|answerable| match answerable.id {
            Some(RequestName::Text(id)) => id,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn sends_overlap_and_are_answered_in_order_for_each_conversation() {
    let mut it = InFlight::new();
    let stuck = started(&mut it, "a1", send(1));
    let later = started(&mut it, "a2", send(1));
    let other = started(&mut it, "b1", send(2));
    // The other conversation is not delayed; the later answer of this one is.
    it.finished(later, ());
    it.finished(other, ());
    assert_eq!(answered(&mut it), ["b1"]);
    it.finished(stuck, ());
    assert_eq!(answered(&mut it), ["a1", "a2"]);
    assert!(it.is_idle());
}

#[test]
fn a_statement_waits_for_the_sends_before_it_and_the_sends_behind_it_wait_too() {
    let mut it = InFlight::new();
    let first = started(&mut it, "send", send(1));
    waits(&mut it, "read", mark_read(1));
    waits(&mut it, "send again", send(1));
    it.finished(first, ());
    let read = starts(&mut it);
    it.finished(read, ());
    let again = starts(&mut it);
    it.finished(again, ());
    assert_eq!(answered(&mut it), ["send", "read", "send again"]);
}

#[test]
fn a_statement_does_not_delay_another_conversation() {
    let mut it = InFlight::new();
    started(&mut it, "read", mark_read(1));
    let other = started(&mut it, "send", send(2));
    it.finished(other, ());
    assert_eq!(answered(&mut it), ["send"]);
}

#[test]
fn what_waits_delays_only_what_follows_it() {
    let mut it = InFlight::new();
    started(&mut it, "send", send(1));
    waits(&mut it, "read", mark_read(1));
    waits(&mut it, "send behind it", send(1));
    for (id, command) in [
        ("typing", typing(1)),
        ("send elsewhere", send(2)),
        ("read elsewhere", mark_read(3)),
        ("edit", edit(1, 1)),
        ("ping", Command::Ping),
    ] {
        let other = started(&mut it, id, command);
        it.finished(other, ());
        assert_eq!(answered(&mut it), [id]);
    }
}

#[test]
fn changes_of_one_message_are_made_in_order_and_wait_for_nothing_else() {
    let mut it = InFlight::new();
    started(&mut it, "send", send(1));
    started(&mut it, "read", mark_read(2));
    let edited = started(&mut it, "edit", edit(1, 1));
    waits(&mut it, "delete", delete(1));
    let other = started(&mut it, "another's", delete(2));
    it.finished(other, ());
    it.finished(edited, ());
    let deleted = starts(&mut it);
    it.finished(deleted, ());
    assert_eq!(answered(&mut it), ["edit", "delete", "another's"]);
}

/// Else it would be shown behind the message.
#[test]
fn a_send_does_not_overtake_typing_and_typing_overtakes_a_send() {
    let mut it = InFlight::new();
    let first = started(&mut it, "typing", typing(1));
    waits(&mut it, "more typing", typing(1));
    waits(&mut it, "send", send(1));
    started(&mut it, "typing elsewhere", typing(2));
    it.finished(first, ());
    let second = starts(&mut it);
    it.finished(second, ());
    let send = starts(&mut it);
    let last = started(&mut it, "typing again", typing(1));
    it.finished(last, ());
    assert_eq!(answered(&mut it), ["typing", "more typing", "typing again"]);
    it.finished(send, ());
    assert_eq!(answered(&mut it), ["send"]);
}

#[test]
fn no_more_than_the_limits_are_in_flight() {
    let mut it = InFlight::new();
    let mut running = Vec::new();
    for n in 0..STATEMENT_LIMIT as u8 {
        running.push(started(&mut it, "read", mark_read(n)));
    }
    waits(&mut it, "one read too many", mark_read(100));
    waits(&mut it, "an edit too many", edit(1, 1));
    // What meets no row that is held has places of its own.
    for n in 0..STATEMENT_LIMIT as u8 {
        started(&mut it, "typing", typing(n));
    }
    waits(&mut it, "one typing too many", typing(100));
    started(&mut it, "send", send(101));
    it.finished(running[0], ());
    let read = starts(&mut it);
    it.finished(read, ());
    starts(&mut it);

    let mut it = InFlight::new();
    for _ in 0..LIMIT {
        assert!(it.accepting());
        started(&mut it, "send", send(1));
    }
    assert!(!it.accepting());

    let mut it = InFlight::new();
    started(&mut it, "read", mark_read(1));
    for _ in 2..LIMIT {
        waits(&mut it, "send", send(1));
    }
    it.offer(request(send(1)), None);
    assert!(!it.accepting());
}

/// What waits and what runs here; what was sent is the writer's.
#[test]
fn so_many_bytes_are_kept_and_one_command_more() {
    const PART: usize = KEPT_BYTES / 4;
    let mut it = InFlight::new();
    for _ in 0..8 {
        started(&mut it, "send", large_send(1, KEPT_BYTES));
    }
    let running = started(&mut it, "edit", edit(1, PART));
    for _ in 0..3 {
        waits(&mut it, "edit", edit(1, PART));
    }
    // Up to here they fill it, and what has no text goes on.
    waits(&mut it, "delete", delete(1));
    it.offer(request(edit(1, 1)), None);
    assert!(!it.accepting());
    it.finished(running, ());
    assert!(it.accepting(), "one is done");

    // However large one is, there is room beside it.
    let mut it = InFlight::new();
    started(&mut it, "edit", edit(1, 16 * KEPT_BYTES));
    assert!(it.accepting());
    started(&mut it, "read", mark_read(1));
    assert!(it.accepting());
    it.offer(request(large_send(1, 1)), None);
    assert!(!it.accepting());
}
