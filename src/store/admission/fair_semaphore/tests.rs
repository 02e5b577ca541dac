use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::UserId;

type Waiting = Pin<Box<dyn Future<Output = Permit>>>;

/// A client that waits, and looks whether it is its turn.
struct Client(Waiting);

impl Client {
    fn comes(semaphore: &FairSemaphore, user: u128) -> Self {
        let semaphore = semaphore.clone();
        let mut client = Self(Box::pin(async move { turn(&semaphore, user).await }));
        assert!(client.permit().is_none(), "it has its turn at once");
        client
    }

    fn permit(&mut self) -> Option<Permit> {
        match self
            .0
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }
}

fn of(user: u128) -> Holder {
    Holder::User(UserId(Uuid::from_u128(user)))
}

async fn turn(semaphore: &FairSemaphore, user: u128) -> Permit {
    semaphore.head(of(user)).await.permit().await
}

fn at_once(semaphore: &FairSemaphore, user: u128) -> Permit {
    let mut waiting = std::pin::pin!(turn(semaphore, user));
    match waiting
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(permit) => permit,
        Poll::Pending => panic!("user {user} has to wait"),
    }
}

const ALICE: u128 = 1;
const BORIS: u128 = 2;
const CARLA: u128 = 3;

/// As of marks that are made together: one permit of the common line, for as many as are at the head of their own.
#[test]
fn several_at_the_head_of_their_lines_need_one_permit_and_keep_their_own_others_out() {
    let semaphore = FairSemaphore::new(1, 1);
    let heads = [ALICE, BORIS].map(|user| {
        let head = semaphore.head(of(user)).now_or_never();
        head.expect("nobody is before them")
    });
    let common = semaphore.common().now_or_never().expect("nobody has it");
    let mut next = [ALICE, BORIS, CARLA].map(|user| Client::comes(&semaphore, user));
    assert_eq!(semaphore.waiting(), 3);
    drop(common);
    // Of whom there are others only at the head of their line.
    assert!(next[0].permit().is_none() && next[1].permit().is_none());
    drop(next[2].permit().expect("it is her turn"));
    let [hers, his] = heads;
    let still_hers = hers.clone();
    drop(hers);
    assert!(next[0].permit().is_none());
    drop(still_hers);
    drop(next[0].permit().expect("it is her turn"));
    let his = his.permit().now_or_never().expect("it is his turn");
    assert!(next[1].permit().is_none());
    drop(his);
    assert!(next[1].permit().is_some());
    assert_eq!(semaphore.waiting(), 0);
}

#[test]
fn a_user_with_nineteen_that_wait_delays_another_by_one_replay_at_most() {
    let semaphore = FairSemaphore::new(1, 1);
    let mut reading = at_once(&semaphore, ALICE);
    let mut of_alice: Vec<Client> = (0..19).map(|_| Client::comes(&semaphore, ALICE)).collect();
    // Each time that Boris comes he is next, whoever of Alice's waits longer.
    for next in &mut of_alice {
        let mut boris = Client::comes(&semaphore, BORIS);
        drop(reading);
        assert!(next.permit().is_none());
        drop(boris.permit().expect("it is his turn"));
        reading = next.permit().expect("then it is hers");
    }
}

#[test]
fn of_all_permits_a_user_has_one() {
    let semaphore = FairSemaphore::new(8, 1);
    let reading = at_once(&semaphore, ALICE);
    let mut others: Vec<Client> = (0..19).map(|_| Client::comes(&semaphore, ALICE)).collect();
    let _seven: Vec<Permit> = (2..9).map(|user| at_once(&semaphore, user)).collect();
    assert!(others.iter_mut().all(|client| client.permit().is_none()));
    drop(reading);
    // The one that came first.
    let first = others[0].permit().expect("its turn");
    assert!(
        others[1..]
            .iter_mut()
            .all(|client| client.permit().is_none())
    );
    drop(first);
    assert!(others[1].permit().is_some());
}

#[test]
fn who_hangs_up_has_given_up_their_place_in_both_lines() {
    let semaphore = FairSemaphore::new(1, 1);
    let reading = at_once(&semaphore, ALICE);
    let (in_common_line, in_her_line) = (
        Client::comes(&semaphore, BORIS),
        Client::comes(&semaphore, ALICE),
    );
    let mut behind_him = Client::comes(&semaphore, BORIS);
    let mut carla = Client::comes(&semaphore, CARLA);
    drop(in_common_line);
    drop(in_her_line);
    drop(reading);
    // Boris's other one has his place in the line behind her.
    assert!(behind_him.permit().is_none());
    drop(carla.permit().expect("it is her turn"));
    drop(behind_him.permit().expect("then his"));
    drop(at_once(&semaphore, ALICE));
}

/// It was told that it is its turn, and is gone before it takes it.
#[test]
fn a_permit_that_is_not_taken_is_the_next_ones() {
    let semaphore = FairSemaphore::new(1, 1);
    let reading = at_once(&semaphore, ALICE);
    let (boris, mut carla) = (
        Client::comes(&semaphore, BORIS),
        Client::comes(&semaphore, CARLA),
    );
    drop(reading);
    assert!(carla.permit().is_none());
    drop(boris);
    assert!(carla.permit().is_some());
}

#[test]
fn two_of_a_user_have_their_turn_where_two_may_and_no_more_wait_than_may() {
    let semaphore = FairSemaphore::new(3, 2);
    let (first, _second) = (at_once(&semaphore, ALICE), at_once(&semaphore, ALICE));
    let mut third = Client::comes(&semaphore, ALICE);
    let within = |most| {
        let head = semaphore.head_within(of(ALICE), most);
        let permit = async { Some(head.await?.permit().await) };
        permit.now_or_never()
    };
    assert!(matches!(within(3), Some(None)), "a fourth of three");
    assert!(within(4).is_none(), "it waits");
    drop(at_once(&semaphore, BORIS));
    drop(first);
    drop(third.permit().expect("her turn"));
    let three = within(3).expect("at once");
    assert!(three.is_some(), "who was refused, or gave up, has no place");
}

#[test]
fn nobody_is_remembered_for_whom_nobody_waits() {
    let semaphore = FairSemaphore::new(1, 1);
    let reading = at_once(&semaphore, ALICE);
    let waiting: Vec<Client> = (0..1000)
        .map(|number| Client::comes(&semaphore, number % 100))
        .collect();
    assert_eq!(semaphore.0.own.len(), 100);
    drop(waiting);
    assert_eq!(semaphore.0.own.len(), 1);
    drop(reading);
    assert_eq!(semaphore.0.own.len(), 0);
}

proptest! {
    /// Whoever comes, goes and is done in whatever order: never more than may be, never more than `each` of one user, never nobody
    /// while somebody could be, and nothing is left.
    #[test]
    fn permits_are_given_to_as_many_as_may_have_one(
        parallel in 1..4usize,
        each in 1..3usize,
        steps in prop::collection::vec((0..3u8, 0..5u128, any::<prop::sample::Index>()), 0..200),
    ) {
        let semaphore = FairSemaphore::new(parallel, each);
        let mut waiting: Vec<(u128, Waiting)> = Vec::new();
        let mut reading: Vec<(u128, Permit)> = Vec::new();
        for (step, user, which) in steps {
            match step {
                0 => {
                    let semaphore = semaphore.clone();
                    let permit = async move { turn(&semaphore, user).await };
                    waiting.push((user, Box::pin(permit)));
                }
                1 if !waiting.is_empty() => drop(waiting.remove(which.index(waiting.len()))),
                2 if !reading.is_empty() => drop(reading.remove(which.index(reading.len()))),
                _ => {}
            }
            // Who is woken by another's coming looks again.
            for _ in 0..=waiting.len() {
                waiting.retain_mut(|(user, client)| {
                    match client.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(permit) => {
                            reading.push((*user, permit));
                            false
                        }
                        Poll::Pending => true,
                    }
                });
            }
            let mut users: Vec<u128> = reading.iter().map(|(user, _)| *user).collect();
            users.sort_unstable();
            prop_assert!(users.len() <= parallel);
            let of = |user: &u128| users.iter().filter(|reads| *reads == user).count();
            prop_assert!(users.iter().all(|user| of(user) <= each), "{users:?}");
            let idle = waiting.iter().any(|(user, _)| of(user) < each);
            prop_assert!(!idle || users.len() == parallel, "somebody waits for nothing");
        }
        drop((waiting, reading));
        prop_assert_eq!(semaphore.0.own.len(), 0);
        prop_assert_eq!(semaphore.0.common.available_permits(), parallel);
    }
}
