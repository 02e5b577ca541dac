use std::future::{pending, ready};

use futures_util::FutureExt;
use uuid::Uuid;

use super::*;
use crate::limits::Holder;
use crate::store::admission::FairSemaphore;

/// As long as a mark is waited for.
const DB_TIMEOUT: Duration = Duration::from_secs(10);

/// At the head of as many lines as there are marks: whose turn it is, is not asked here.
struct Scene {
    line: Arc<MarksLine>,
    head: Head,
}

impl Scene {
    fn set() -> Self {
        let turns = FairSemaphore::new(1, 1);
        let head = turns.head(Holder::Anybody).now_or_never();
        Self {
            line: Arc::new(MarksLine::new()),
            head: head.expect("nobody else is there"),
        }
    }

    fn admit(&self, conversation: u128, reader: u128) -> Result<Admitted, Error> {
        let mark = Mark {
            conversation: ConversationId(Uuid::from_u128(conversation)),
            reader: UserId(Uuid::from_u128(reader)),
            up_to: None,
        };
        let deadline = Instant::now() + DB_TIMEOUT;
        self.line.admit(mark, &self.head, deadline)
    }

    fn first(&self, n: u128) -> Lead {
        match self.admit(n, n).expect("room") {
            Admitted::First(lead) => lead,
            Admitted::InLine(..) => panic!("somebody else is there"),
        }
    }

    fn waits(&self, n: u128) -> (InLine, Option<Gathering>) {
        match self.admit(n, n).expect("room") {
            Admitted::First(_) => panic!("nobody else is there"),
            Admitted::InLine(waiting, gathering) => (waiting, gathering),
        }
    }
}

fn next_group(gathering: &mut Gathering) -> Option<(Vec<u128>, Lead)> {
    let permit = gathering.lead().now_or_never().expect("nobody leads");
    let (group, lead) = gathering.next_group(permit)?;
    Some((readers(&group), lead))
}

fn readers(group: &[Waiter]) -> Vec<u128> {
    let ids = group.iter().map(|waiter| waiter.mark.reader.0.as_u128());
    ids.collect()
}

#[test]
fn who_comes_alone_is_first_and_who_comes_meanwhile_waits_unless_they_go() {
    let scene = Scene::set();
    let lead = scene.first(1);
    let (_stays, gathering) = scene.waits(2);
    let mut gathering = gathering.expect("somebody is to gather");
    let (goes, none) = scene.waits(3);
    assert!(none.is_none(), "one gathers already");
    assert!(gathering.lead().now_or_never().is_none());
    drop(goes);
    drop(lead);
    let (_comes, _) = scene.waits(4);
    assert_eq!(scene.line.figures().waiting, 2);
    let (group, lead) = next_group(&mut gathering).expect("those who wait");
    assert_eq!(group, [2, 4]);
    assert_eq!(scene.line.figures().waiting, 0);
    drop(lead);
    assert!(next_group(&mut gathering).is_none());
    let figures = scene.line.figures();
    assert_eq!((figures.batches, figures.batched), (1, 2));
    drop(scene.first(5));
}

/// Perhaps the process stood still, and the caller has gone meanwhile: it would cover what came since.
#[tokio::test(start_paused = true)]
async fn a_mark_whose_time_has_passed_is_not_begun() {
    let scene = Scene::set();
    let lead = scene.first(1);
    let (mut late, gathering) = scene.waits(2);
    let mut gathering = gathering.expect("somebody is to gather");
    tokio::time::advance(DB_TIMEOUT).await;
    let (_in_time, _) = scene.waits(3);
    drop(lead);
    let (group, _lead) = next_group(&mut gathering).expect("those who wait");
    assert_eq!(group, [3]);
    assert!(matches!((&mut late.answer).await, Ok(Answer::TooLate)));
}

/// However long that takes: otherwise, where each commit takes long, marks would be made one by one.
#[tokio::test(start_paused = true)]
async fn marks_that_take_long_let_the_next_ones_be_made_beside_them_and_nobody_is_first() {
    let scene = Scene::set();
    let mut long = Box::pin(scene.first(1).before_others(pending::<()>()));
    assert!(long.as_mut().now_or_never().is_none());
    let (_waits, gathering) = scene.waits(2);
    let mut gathering = gathering.expect("somebody is to gather");
    assert!(gathering.lead().now_or_never().is_none());
    let patience = tokio::time::timeout(PATIENCE * 2, long.as_mut()).await;
    assert!(patience.is_err());
    let (group, lead) = next_group(&mut gathering).expect("those who wait");
    assert_eq!(group, [2]);
    lead.before_others(ready(())).await;
    assert!(next_group(&mut gathering).is_none());
    let (_waits, gathering) = scene.waits(3);
    assert!(gathering.is_some());
    drop((long, gathering));
    drop(scene.first(4));
}

#[test]
fn a_transaction_has_a_hundred_marks_and_the_others_wait_in_their_order() {
    let scene = Scene::set();
    let _lead = scene.first(1000);
    let (mut there, mut gathering) = (Vec::new(), None);
    for n in 0..250 {
        let (waiting, gathers) = scene.waits(n);
        there.push(waiting);
        gathering = gathering.or(gathers);
    }
    let mut state = scene.line.state();
    let mut take = || readers(&take_group(&mut state.waiting, GROUP));
    let [first, second, third] = [take(), take(), take()];
    assert_eq!((first.len(), second.len(), third.len()), (100, 100, 50));
    assert_eq!(
        [first, second, third].concat(),
        (0..250).collect::<Vec<_>>()
    );
    assert!(take().is_empty());
}

/// With several turns of a user at a time, as with many connections.
#[test]
fn a_transaction_has_one_mark_of_a_reader_in_a_conversation() {
    let scene = Scene::set();
    let _lead = scene.first(1000);
    let places = [(1, 1), (1, 1), (1, 2), (2, 1), (1, 1)].map(|(conversation, reader)| {
        let place = scene.admit(conversation, reader);
        place.expect("room")
    });
    let mut state = scene.line.state();
    let mut take = || {
        let group = take_group(&mut state.waiting, GROUP);
        let ids = group.iter().map(|waiter| waiter.id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!([take(), take(), take()], [vec![1, 3, 4], vec![2], vec![5]]);
    drop(state);
    drop(places);
}

#[test]
fn whoever_leaves_is_not_waited_for_and_whoever_is_taken_cannot_leave() {
    let scene = Scene::set();
    let lead = scene.first(1);
    let (leaves, gathering) = scene.waits(2);
    let (stays, _) = scene.waits(3);
    assert!(leaves.leave());
    assert!(!leaves.leave());
    drop(lead);
    let mut gathering = gathering.expect("somebody is to gather");
    let (group, _lead) = next_group(&mut gathering).expect("another");
    assert_eq!(group, [3]);
    assert!(!stays.leave());
}

/// Others' marks may take long.
#[test]
fn whoever_goes_takes_along_their_place_in_their_own_line_at_once() {
    let scene = Scene::set();
    let _lead = scene.first(1);
    let (goes, _gathering) = scene.waits(2);
    let (stays, _) = scene.waits(3);
    drop(goes);
    let left: Vec<u64> = scene.line.state().waiting.iter().map(|it| it.id).collect();
    assert_eq!(left, [stays.id]);
}

#[test]
fn so_many_wait_and_one_more_is_refused_until_one_has_gone() {
    let scene = Scene::set();
    let _lead = scene.first(1 << 64);
    let mut places: Vec<_> = (0..MAX_WAITING as u128).map(|n| scene.waits(n)).collect();
    assert_eq!(scene.line.figures().waiting, MAX_WAITING);
    assert!(matches!(scene.admit(0, 0), Err(Error::Unavailable { .. })));
    places.pop();
    assert!(scene.admit(0, 0).is_ok());
}

#[test]
fn where_so_many_took_too_long_the_next_transactions_have_fewer_until_that_goes_well() {
    let line = MarksLine::new();
    let most = || line.state().most;
    line.was_too_slow(60);
    assert_eq!(most(), 30);
    // Fewer than there may be say nothing.
    line.went_well(29);
    assert_eq!(most(), 30);
    line.went_well(30);
    assert_eq!(most(), 60);
    line.went_well(60);
    line.went_well(100);
    line.was_too_slow(1);
    assert_eq!(most(), GROUP);
    for _ in 0..10 {
        line.was_too_slow(most());
    }
    assert_eq!(most(), 1);
}

#[test]
fn whoever_is_made_beside_the_others_is_not_waited_for_and_has_them_made_together() {
    let scene = Scene::set();
    let beside = scene.line.beside_others();
    let (_first, gathering) = scene.waits(1);
    let (_second, _) = scene.waits(2);
    let mut gathering = gathering.expect("somebody is to gather");
    let (group, lead) = next_group(&mut gathering).expect("those who wait");
    assert_eq!(group, [1, 2]);
    drop(lead);
    assert!(next_group(&mut gathering).is_none());
    drop((beside, gathering));
    drop(scene.first(3));
}
