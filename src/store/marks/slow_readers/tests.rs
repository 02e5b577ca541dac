use uuid::Uuid;

use super::*;

const FAST: Duration = Duration::from_millis(5);
const SLOW: Duration = Duration::from_secs(1);

fn of(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

fn readers() -> Arc<SlowReaders> {
    Arc::new(SlowReaders::new())
}

/// A transaction with the marks of these, each of something.
async fn group(readers: &SlowReaders, all: impl Iterator<Item = u128>, took: Duration) {
    let all: Vec<UserId> = all.map(of).collect();
    tokio::time::advance(took).await;
    if !readers.took(all.iter().copied(), took) {
        all.into_iter().for_each(|one| readers.clear(one));
    }
}

async fn alone(readers: &Arc<SlowReaders>, n: u128, took: Duration) {
    let stopwatch = readers.begin(of(n));
    tokio::time::advance(took).await;
    drop(stopwatch);
    readers.clear(of(n));
}

/// As many as are sent alone if all of these mark at once.
fn apart(readers: &SlowReaders, all: impl Iterator<Item = u128>) -> usize {
    let apart: Vec<_> = all.filter_map(|n| readers.apart(of(n))).collect();
    apart.len()
}

#[tokio::test(start_paused = true)]
async fn whose_mark_takes_long_by_itself_is_alone_for_a_minute() {
    let readers = readers();
    alone(&readers, 1, FAST).await;
    assert_eq!(apart(&readers, 1..3), 0);
    alone(&readers, 1, SLOW).await;
    alone(&readers, 2, LEAST).await;
    assert_eq!(apart(&readers, 1..3), 1);
    // As of nothing. However often they come, others learn nothing from it.
    for _ in 0..10 {
        alone(&readers, 1, FAST).await;
        assert!(readers.apart(of(1)).is_some());
        alone(&readers, 1, SLOW).await;
    }
    tokio::time::advance(REMEMBERED - FAST).await;
    assert!(readers.apart(of(1)).is_some());
    tokio::time::advance(FAST).await;
    assert!(readers.apart(of(1)).is_none());
    assert!(readers.state().remembered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn those_of_a_slow_group_are_suspect_until_a_mark_of_theirs_is_fast() {
    let readers = readers();
    group(&readers, 0..100, FAST).await;
    group(&readers, 0..3, SLOW).await;
    assert_eq!(apart(&readers, 0..100), 3);
    group(&readers, 0..1, FAST).await;
    alone(&readers, 1, FAST).await;
    assert_eq!(apart(&readers, 0..100), 1);
    alone(&readers, 2, SLOW).await;
    // The one who is slow is so whatever others do.
    group(&readers, 2..50, FAST).await;
    assert!(readers.apart(of(2)).is_some());
    assert_eq!(apart(&readers, 0..100), 1);
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_who_are_suspect_four_are_alone_at_a_time_and_the_slow_besides() {
    let readers = readers();
    alone(&readers, 1, FAST).await;
    alone(&readers, 1000, SLOW).await;
    group(&readers, 0..100, SLOW).await;
    let held: Vec<_> = (0..100).filter_map(|n| readers.apart(of(n))).collect();
    assert_eq!(held.len(), TRIALS);
    assert!(readers.apart(of(1000)).is_some());
    assert!(readers.apart(of(99)).is_none());
    drop(held);
    assert!(readers.apart(of(50)).is_some());
}

/// All marks take long then, alone or not: they go on being made together.
#[tokio::test(start_paused = true)]
async fn where_the_database_is_slow_hardly_anybody_is_remembered() {
    let readers = readers();
    group(&readers, 0..100, FAST).await;
    for _ in 0..RECENT {
        group(&readers, 0..100, SLOW).await;
    }
    // They are suspect, and found to be as slow as all.
    for n in 0..100 {
        alone(&readers, n, SLOW).await;
    }
    assert_eq!(apart(&readers, 0..100), 0);
    // Nor where each is made alone at first, since the group had no answer.
    let readers = self::readers();
    group(&readers, 0..100, FAST).await;
    for n in 0..100 {
        alone(&readers, n, SLOW).await;
    }
    assert!(apart(&readers, 0..100) <= RECENT);
    // Slower still is slow again.
    alone(&readers, 50, SLOW * (TIMES + 1)).await;
    assert!(readers.apart(of(50)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_hundred_are_remembered_and_who_is_slow_before_who_is_suspect() {
    let readers = readers();
    let keep_fast = async |n| alone(&readers, n, FAST).await;
    keep_fast(9999).await;
    for from in [0, 80] {
        group(&readers, from..from + 80, SLOW).await;
    }
    assert_eq!(readers.state().remembered.len(), MAX_REMEMBERED);
    for n in 1000..1150 {
        keep_fast(9999).await;
        readers.took([of(n)].into_iter(), SLOW);
    }
    assert_eq!(readers.state().remembered.len(), MAX_REMEMBERED);
    assert_eq!(apart(&readers, 1000..1150), MAX_REMEMBERED);
    tokio::time::advance(REMEMBERED).await;
    keep_fast(9999).await;
    readers.took([of(1)].into_iter(), SLOW);
    assert_eq!(readers.state().remembered.len(), 1);
}
