use std::cell::Cell;
use std::pin::Pin;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::*;
use crate::model::UserId;

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Permit, Error>> + 'a>>;

fn of(user: u128) -> Holder {
    Holder::User(UserId(Uuid::from_u128(user)))
}

/// A look at whether it is their turn.
fn permit(waiting: &mut Waiting<'_>) -> Option<Permit> {
    let permit = waiting.as_mut().now_or_never()?;
    Some(permit.expect("time stands still"))
}

#[tokio::test(start_paused = true)]
async fn what_comes_ahead_of_a_permit_does_so_for_one_of_a_user_at_a_time_and_keeps_nobody_else() {
    let (alice, boris) = (of(1), of(2));
    let turns = Turns::new("tests", "no turn", Duration::from_secs(1), (1, 1));
    let asked = Cell::new(0);
    let (come, comes) = oneshot::channel();
    let mut comes = Some(comes);
    let mut hers: Vec<Waiting<'_>> = (0..3)
        .map(|_| {
            let (asked, comes) = (&asked, comes.take());
            let ahead = async move {
                asked.set(asked.get() + 1);
                if let Some(comes) = comes {
                    let _ = comes.await;
                }
            };
            Box::pin(turns.of_after(alice, ahead)) as Waiting<'_>
        })
        .collect();
    assert!(hers.iter_mut().all(|waiting| permit(waiting).is_none()));
    assert_eq!(asked.get(), 1, "the others wait behind the first");
    assert_eq!(turns.waiting().1, 2, "the first waits for no turn");
    let his = turns.of(boris).now_or_never();
    drop(his.expect("she is in nobody's way").expect("his turn"));
    come.send(()).expect("somebody who waits for it");
    let first = permit(&mut hers[0]).expect("her turn");
    assert!(
        hers[1..]
            .iter_mut()
            .all(|waiting| permit(waiting).is_none())
    );
    assert_eq!(asked.get(), 1);
    drop(first);
    assert!(permit(&mut hers[1]).is_some());
    assert_eq!(asked.get(), 2);
}
