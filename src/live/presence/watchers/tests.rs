use super::*;

fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

/// A socket and its mailbox.
struct Client {
    connection: ConnectionId,
    mailbox: Arc<Mailbox>,
}

impl Client {
    fn new() -> Self {
        Self {
            connection: ConnectionId(Uuid::new_v4()),
            mailbox: Arc::default(),
        }
    }

    fn watches(&self, watchers: &mut Watchers, users: &[u128]) {
        let users = users.iter().map(|n| user(*n)).collect();
        watchers.watch(self.connection, &self.mailbox, users);
    }

    fn shown(&self) -> Vec<String> {
        std::iter::from_fn(|| self.mailbox.take())
            .map(|frame| frame.as_str().to_owned())
            .collect()
    }
}

/// Shows to its end what was read.
fn show(watchers: &mut Watchers, user: UserId, data: &str) {
    if let Some(mut showing) = watchers.saw(user, data) {
        while watchers.show(&mut showing, || data.into()).more {}
    }
}

/// Sockets that watch, users whom they watch, pairs of both.
fn counts(watchers: &Watchers) -> (usize, usize, usize) {
    let Watching {
        sockets,
        users,
        pairs,
    } = watchers.counts();
    (sockets, users, pairs)
}

/// Reads everybody who is asked for: `data` of user n is "n" and this.
fn read(watchers: &mut Watchers, state: &str) -> Vec<UserId> {
    let users = watchers.take(1000);
    for user in &users {
        let data = format!("{}{state}", user.0.as_u128());
        show(watchers, *user, &data);
    }
    users
}

#[test]
fn a_new_watcher_is_shown_the_present_state_and_the_others_only_what_changes() {
    let mut watchers = Watchers::default();
    let (one, two) = (Client::new(), Client::new());
    one.watches(&mut watchers, &[1, 2, 2]);
    assert_eq!(read(&mut watchers, "a").len(), 2, "each user is read once");
    assert_eq!(one.shown(), ["1a", "2a"]);

    two.watches(&mut watchers, &[2]);
    assert_eq!(read(&mut watchers, "a"), [user(2)]);
    assert_eq!((one.shown(), two.shown()), (vec![], vec!["2a".to_owned()]));

    // Nobody watches the third.
    [2, 2, 3].into_iter().for_each(|n| watchers.ask(user(n)));
    assert_eq!(read(&mut watchers, "b"), [user(2)]);
    assert_eq!(
        (one.shown(), two.shown()),
        (vec!["2b".to_owned()], vec!["2b".to_owned()])
    );
    assert!(!watchers.is_asked());
}

#[test]
fn a_socket_that_was_told_to_reload_is_shown_again_whom_it_watches_and_no_other_socket_is() {
    let mut watchers = Watchers::default();
    let (one, two) = (Client::new(), Client::new());
    one.watches(&mut watchers, &[1, 2]);
    two.watches(&mut watchers, &[2, 3]);
    read(&mut watchers, "a");
    assert_eq!((one.shown().len(), two.shown().len()), (2, 2));
    watchers.show_again_to(one.connection);
    assert_eq!(read(&mut watchers, "a"), [user(1), user(2)]);
    assert_eq!((one.shown().len(), two.shown().len()), (2, 0));
    watchers.show_again_to(ConnectionId(Uuid::new_v4()));
    assert!(!watchers.is_asked());
}

#[test]
fn a_list_replaces_the_one_before_it_and_is_shown_anew() {
    let mut watchers = Watchers::default();
    let client = Client::new();
    client.watches(&mut watchers, &[1, 2]);
    read(&mut watchers, "a");
    client.shown();
    client.watches(&mut watchers, &[2, 3]);
    watchers.ask(user(1));
    assert_eq!(read(&mut watchers, "a"), [user(2), user(3)]);
    assert_eq!(client.shown(), ["2a", "3a"]);
    client.watches(&mut watchers, &[]);
    assert_eq!(counts(&watchers), (0, 0, 0));
    assert!(!watchers.is_asked());
}

#[test]
fn a_change_that_is_heard_while_its_user_is_being_read_is_read_again() {
    let mut watchers = Watchers::default();
    let client = Client::new();
    client.watches(&mut watchers, &[1]);
    let reading = watchers.take(10);
    watchers.ask(user(1));
    show(&mut watchers, reading[0], "old");
    assert_eq!(watchers.take(10), [user(1)]);
}

#[test]
fn after_a_reload_everything_is_shown_again() {
    let mut watchers = Watchers::default();
    let client = Client::new();
    client.watches(&mut watchers, &[1, 2]);
    read(&mut watchers, "a");
    client.shown();
    watchers.ask_all();
    read(&mut watchers, "a");
    assert_eq!(client.shown(), Vec::<String>::new(), "it knows that");
    watchers.show_all_again();
    read(&mut watchers, "a");
    assert_eq!(client.shown().len(), 2);
}

#[test]
fn nothing_is_left_of_sockets_that_are_gone_however_often_they_watched() {
    let mut watchers = Watchers::default();
    let clients = [Client::new(), Client::new()];
    for round in 0..50 {
        for client in &clients {
            client.watches(&mut watchers, &[round, round + 1]);
        }
    }
    assert!(watchers.queue.len() <= 2, "what nobody watches is not read");
    assert_eq!(counts(&watchers), (2, 2, 4));
    watchers.leaves(clients[0].connection);
    assert_eq!(counts(&watchers), (1, 2, 2));
    watchers.leaves(clients[1].connection);
    assert_eq!(counts(&watchers), (0, 0, 0));
    assert!(watchers.queue.is_empty());
}

/// The lock is let go of in between, and others may come and go.
#[test]
fn of_a_user_whom_very_many_watch_each_is_shown_once_however_many_are_looked_at_at_a_time() {
    let mut watchers = Watchers::default();
    let mut clients: Vec<Client> = (0..2 * LOOKED_AT + 2).map(|_| Client::new()).collect();
    clients.sort_unstable_by_key(|client| client.connection);
    for client in &clients {
        client.watches(&mut watchers, &[1]);
    }
    let mut showing = watchers.saw(user(1), "here").expect("watched");
    let mut show = |watchers: &mut Watchers| watchers.show(&mut showing, || "here".into());
    let some = |count, more| Shown { count, more };
    assert_eq!(show(&mut watchers), some(LOOKED_AT, true));
    // The last that was looked at, and one that was not.
    for gone in [LOOKED_AT - 1, LOOKED_AT] {
        watchers.leaves(clients[gone].connection);
    }
    assert_eq!(show(&mut watchers), some(LOOKED_AT, true));
    assert_eq!(show(&mut watchers), some(1, false));
    let shown = clients.iter().map(|client| client.shown().len());
    assert_eq!(shown.sum::<usize>(), 2 * LOOKED_AT + 1);
    assert!(clients[LOOKED_AT].shown().is_empty());
}
