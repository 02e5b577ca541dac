//! Waiting on a condition, never for a time: each wait has a deadline and says what it waited for.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take to come true. Generous, for a machine with a load of twenty: it is only ever used up by a
/// failing test.
pub const DEADLINE: Duration = Duration::from_secs(40);

const POLL: Duration = Duration::from_millis(20);

/// Asks again and again until `probe` has an answer.
pub async fn eventually<T, F>(what: &str, probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    eventually_within(DEADLINE, what, probe).await
}

/// Asks again and again until `probe` has an answer, for `deadline` at most.
pub async fn eventually_within<T, F>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(
            started.elapsed() < deadline,
            "not within {deadline:?}: {what}"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Asks again and again, on a thread that may block, until `probe` has an answer, for `deadline` at most.
pub fn blocking_eventually<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T, String> {
    let started = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return Ok(answer);
        }
        if started.elapsed() > deadline {
            return Err(format!("not within {deadline:?}: {what}"));
        }
        std::thread::sleep(POLL);
    }
}

/// Bounds a future that should resolve by itself.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Runs async code to its end on a thread of its own: for `Drop`, and for statics, which are made outside any runtime.
pub fn blocking<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(future)
    });
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
