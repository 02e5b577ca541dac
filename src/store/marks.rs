//! Read marks, made together with those that come at the same moment.
//!
//! A commit that tells of something holds NOTIFY's lock, of which the cluster has one, during its flush: marks that are made one by one
//! are few in a second, and senders wait behind them. As the writer does with messages, those that come while others are being made
//! are the next transaction, without a timer ([`line`]). Whoever is alone waits for nobody and takes the function for one.
//!
//! That function also gets what the others are not to wait for, or to fail by: marks of very many or very long messages, of
//! rows that somebody holds, of those whose marks have taken long ([`slow_readers`]), and what is refused.

mod line;
mod slow_readers;

use std::sync::Arc;
use std::time::Duration;

use postgres_types::Type;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::oneshot::error::RecvError;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;

pub(super) use line::MarksLine;
pub use line::{Marked, MarksFigures};
pub(super) use slow_readers::SlowReaders;

use line::{Admitted, Answer, Gathering, InLine, Mark, Waiter};

use super::admission::Head;
use super::conversations::reader_verdict;
use super::failure::{Fault, QueryFailure};
use super::held_rows::{CallerGone, Gone};
use super::lease::Param;
use super::{Shared, Statement, Store, column_of, single};
use crate::error::Error;
use crate::model::{ConversationId, Seq, UserId};

impl Store {
    /// Marks the other participant's messages as read, all of them or up to a seq. Of very many or very long ones in several transactions,
    /// with one deadline: what is marked stays so if a later one fails, and a repeat goes on from there. While somebody holds one of them
    /// it is tried again, unless the caller is `gone`: what came since they have not seen. Where it waits for its turn, or for others'
    /// marks, it is not begun then either.
    pub async fn mark_read(
        &self,
        conversation: ConversationId,
        reader: UserId,
        up_to: Option<Seq>,
        mut gone: Gone<'_>,
    ) -> Result<Marked, Error> {
        let mark = Mark {
            conversation,
            reader,
            up_to,
        };
        let deadline = self.deadline();
        let Shared {
            held_rows,
            marks,
            slow_readers,
            ..
        } = &*self.shared;
        let head = timeout_at(deadline, held_rows.head(reader, gone.as_mut())).await;
        let head = head.map_err(|_| held_rows.no_turn())??;
        if let Some(_apart) = slow_readers.apart(reader) {
            let _counts = marks.beside_others();
            return self.mark_alone(mark, head, deadline, gone).await;
        }
        if held_rows.is_waited_for(conversation.0) {
            return self.mark_alone(mark, head, deadline, gone).await;
        }
        let in_line = match marks.admit(mark, &head, deadline)? {
            Admitted::First(lead) => {
                let alone = self.mark_alone(mark, head, deadline, gone);
                return lead.before_others(alone).await;
            }
            Admitted::InLine(in_line, gathering) => {
                if let Some(gathering) = gathering {
                    // For all who wait, and as long as anybody does: it is nobody's turn.
                    tokio::spawn(self.in_no_turn().gather_marks(gathering));
                }
                in_line
            }
        };
        match self
            .answer_in_line(in_line, deadline, gone.as_mut())
            .await?
        {
            Answer::Made(result) => result,
            Answer::Alone => self.mark_alone(mark, head, deadline, gone).await,
            Answer::TooLate => Err(held_rows.no_turn()),
        }
    }

    /// Whoever has not been taken into a transaction by the deadline leaves. Whoever has waits for its end, as for that of a turn of their
    /// own: otherwise, in an overload, nobody would be answered.
    async fn answer_in_line(
        &self,
        mut in_line: InLine,
        deadline: Instant,
        gone: Gone<'_>,
    ) -> Result<Answer, Error> {
        let held_rows = &self.shared.held_rows;
        let answered = |answer: Result<Answer, RecvError>| {
            // Its task has ended by a panic.
            answer.map_err(|_| QueryFailure::no_answer().into())
        };
        tokio::select! {
            biased;
            answer = timeout_at(deadline, &mut in_line.answer) => match answer {
                Ok(answer) => answered(answer),
                Err(_) if in_line.leave() => Err(held_rows.no_turn()),
                Err(_) => answered((&mut in_line.answer).await),
            },
            () = gone => Err(CallerGone.into()),
        }
    }

    /// What [`mark_read`](Self::mark_read) does, with nobody else.
    async fn mark_alone(
        &self,
        mark: Mark,
        head: Head,
        deadline: Instant,
        mut gone: Gone<'_>,
    ) -> Result<Marked, Error> {
        let Mark {
            conversation,
            reader,
            up_to,
        } = mark;
        let Shared {
            held_rows,
            slow_readers,
            ..
        } = &*self.shared;
        let mut head = Some(head);
        let mut marked_count = 0;
        let mut after: i64 = 0;
        loop {
            let params = [
                (&conversation as _, Type::UUID),
                (&reader as _, Type::UUID),
                (&up_to as _, Type::INT8),
                (&after as _, Type::INT8),
            ];
            let statement = Statement {
                deadline,
                ..self.select_telling("*", "chat_mark_read($1, $2, $3, $4)", &params)
            };
            let attempts = held_rows.attempts(reader, conversation.0);
            let attempts = attempts.starting_at(head.take());
            let stopwatch = || slow_readers.begin(reader);
            let rows = self
                .change_in(attempts, statement, gone.as_mut(), stopwatch)
                .await?;
            let status: String = single(&rows, 0)?;
            reader_verdict(&status, conversation, reader)?;
            marked_count += single::<i64>(&rows, 1)?;
            if marked_count > 0 {
                slow_readers.clear(reader);
            }
            match single::<Option<i64>>(&rows, 3)? {
                // The last of these transactions may have ended later than the whole of it was to.
                Some(_) if Instant::now() >= deadline => {
                    return Err(Error::unavailable(
                        "too many are unread to mark all in time: try again",
                    ));
                }
                Some(marked_to) => after = marked_to,
                None => {
                    return Ok(Marked {
                        marked_count,
                        read_seq: single(&rows, 2)?,
                    });
                }
            }
        }
    }

    /// Has groups made of those who wait, until nobody does: one at a time, or where one takes long, as many as there may be changes.
    async fn gather_marks(self, mut gathering: Gathering) {
        loop {
            let permit = gathering.lead().await;
            let turn = self.shared.held_rows.try_of_several().await;
            // Who has come while these two were waited for is in it.
            let Some((group, lead)) = gathering.next_group(permit) else {
                return;
            };
            let work = self.clone().mark_group(group, turn);
            tokio::spawn(lead.before_others(work));
        }
    }

    /// In one transaction, or where one of them may be at fault, in those of ever smaller parts: within the time of one turn. Who is left over
    /// does it alone, and so does everybody where the connection is lost or the database silent. Nobody knows then what became of it; a
    /// mark that was made is made again, and finds nothing.
    async fn mark_group(self, group: Vec<Waiter>, turn: OwnedSemaphorePermit) {
        let deadline = self.deadline_of_turn();
        let turn = Arc::new(turn);
        let mut parts = vec![group];
        while let Some(mut part) = parts.pop() {
            part.retain(Waiter::is_there);
            if part.is_empty() {
                continue;
            }
            match self.mark_together(&part, &turn, deadline).await {
                Ok((answers, took)) => self.answer_all(part, answers, took),
                Err(failure) => {
                    log::debug!("{} marks: {}", part.len(), failure.text);
                    if failure.is_too_slow() {
                        self.shared.marks.was_too_slow(part.len());
                    }
                    parts.extend(to_be_tried(part, failure.fault));
                }
            }
        }
    }

    /// What they marked together took so long.
    fn answer_all(&self, part: Vec<Waiter>, answers: Vec<Answer>, took: Duration) {
        let Shared {
            marks,
            slow_readers,
            ..
        } = &*self.shared;
        marks.went_well(part.len());
        let readers = part.iter().map(|waiter| waiter.mark.reader);
        let was_slow = slow_readers.took(readers, took);
        for (waiter, answer) in part.into_iter().zip(answers) {
            if !was_slow && answer.has_marked() {
                slow_readers.clear(waiter.mark.reader);
            }
            waiter.answer(answer);
        }
    }

    /// One transaction, and how long it took once it had a connection: what has the others says nothing of these readers. Until its end it
    /// is the turn of all of them, those who have gone included.
    async fn mark_together(
        &self,
        part: &[Waiter],
        turn: &Arc<OwnedSemaphorePermit>,
        deadline: Instant,
    ) -> Result<(Vec<Answer>, Duration), QueryFailure> {
        let heads: Vec<Head> = part.iter().map(|waiter| waiter.head.clone()).collect();
        let store = self.in_turn((Arc::clone(turn), heads));
        let conversations: Vec<_> = part.iter().map(|it| it.mark.conversation).collect();
        let readers: Vec<_> = part.iter().map(|it| it.mark.reader).collect();
        let up_tos: Vec<_> = part.iter().map(|it| it.mark.up_to).collect();
        let params: [Param<'_>; 3] = [
            (&conversations, Type::UUID_ARRAY),
            (&readers, Type::UUID_ARRAY),
            (&up_tos, Type::INT8_ARRAY),
        ];
        let statement = Statement {
            deadline,
            ..store.select_telling(
                "status, marked_count, read_seq",
                "chat_mark_read_many($1, $2, $3)",
                &params,
            )
        };
        let pool = &self.shared.pool;
        let lease = store.lease(pool, statement.deadline).await?;
        let began = Instant::now();
        let rows = store.change_over(lease, pool, &statement).await?;
        let took = began.elapsed();
        let answers = part.iter().zip(&rows);
        let answers: Result<Vec<_>, _> = answers
            .map(|(waiter, row)| answer_of(row, waiter.mark))
            .collect();
        match answers {
            Ok(answers) if rows.len() == part.len() => Ok((answers, took)),
            // By a function that somebody has replaced. What was marked is found so when each is made alone.
            _ => Err(QueryFailure::other_answer()),
        }
    }
}

/// What the transaction answers about a mark.
fn answer_of(row: &Row, mark: Mark) -> Result<Answer, Error> {
    let marked = Marked {
        marked_count: column_of(row, 1)?,
        read_seq: column_of(row, 2)?,
    };
    Ok(match column_of(row, 0)? {
        "alone" => Answer::Alone,
        status => {
            let verdict = reader_verdict(status, mark.conversation, mark.reader);
            Answer::Made(verdict.map(|()| marked))
        }
    })
}

/// Of marks that have failed together the two halves, the first one last, or none. Whoever would be tried by themselves does it alone, and
/// is refused in the words of that if they are at fault.
fn to_be_tried(mut failed: Vec<Waiter>, fault: Fault) -> Vec<Vec<Waiter>> {
    let rest = failed.split_off(failed.len().div_ceil(2));
    let (parts, alone): (Vec<_>, Vec<_>) = [rest, failed]
        .into_iter()
        .partition(|half| half.len() > 1 && may_be_by_one(fault));
    for waiter in alone.into_iter().flatten() {
        waiter.answer(Answer::Alone);
    }
    parts
}

/// Whether one of several marks may be why they failed. Of what is said of the connection, the time or the function, each
/// half would only fail, too.
fn may_be_by_one(fault: Fault) -> bool {
    match fault {
        Fault::Held | Fault::Collided | Fault::Exhausted | Fault::Denied | Fault::Refused => true,
        Fault::NoConnection
        | Fault::ConnectionLost
        | Fault::StatementLost
        | Fault::NoAnswer
        | Fault::OtherAnswer
        | Fault::TooSlow
        | Fault::SearchGivenUp => false,
    }
}
