//! Answers to requests: in order, and with what was asked for.

use super::{Session, WATCH};
use crate::api::Miss;
use crate::checker::{Kind, State, Violation};
use crate::client::{About, Request};
use crate::model::*;
use crate::wire::{Answer, Refusal};

impl Session<'_> {
    /// The request that an answer is to, and whether all that it follows have been answered.
    fn answered(&mut self, id: &str) -> Option<(Request, bool)> {
        let request = self.waiting.remove(id)?;
        let order = self.order.entry(request.conversation).or_default();
        let place = order.iter().position(|waiting| waiting == id);
        let ahead = order.iter().take(place.unwrap_or_default());
        let mut ahead = ahead.filter_map(|earlier| self.waiting.get(earlier));
        let in_order =
            place.is_some() && !ahead.any(|earlier| request.about.follows(&earlier.about));
        if let Some(place) = place {
            order.remove(place);
        }
        Some((request, in_order))
    }

    pub(super) fn acknowledged(&mut self, answer: Answer) {
        let id = answer.request_id.unwrap_or_default();
        if id == WATCH {
            return;
        }
        let Some((request, in_order)) = self.answered(&id) else {
            let text = format!("an ack for nothing that was asked, requestId {id:?}");
            self.world().refused(self.client.ix, None, text);
            return;
        };
        let now = self.world().clock.now();
        if !in_order {
            let text = format!("request {id} was acknowledged before an earlier one");
            let violation = Violation::new(Kind::AckOrder, now, text)
                .client(self.client.ix)
                .connection(Some(self.number));
            self.world().checker().violate(violation);
        }
        let done = match (request.about, answer.message, answer.read_seq) {
            (About::Message(key), Some(view), _) => {
                self.world().checker().acknowledged(
                    key,
                    &view,
                    Via::WebSocket,
                    self.number,
                    "ack",
                    now,
                );
                Ok(())
            }
            (About::Read { up_to }, _, Some(read_seq)) => {
                self.world().checker().read_acknowledged(
                    self.client.ix,
                    request.conversation,
                    up_to,
                    read_seq,
                    now,
                );
                Ok(())
            }
            (About::Typing, None, None) => Ok(()),
            (About::Change { key, to }, view, _) if view.is_some() || to == State::Deleted => {
                self.world().checker().changed(key, to, view.as_ref(), now);
                Ok(())
            }
            _ => Err(Miss::Refused("an ack without its result".to_owned())),
        };
        // Nobody waits any more when it came too late; it counts all the same.
        let _ = request.reply.send(done);
    }

    pub(super) fn refused(&mut self, refusal: Refusal) {
        let retry = matches!(refusal.code.as_str(), "unavailable" | "too_many_requests");
        let miss = if retry {
            Miss::Retry(refusal.code)
        } else {
            Miss::Refused(format!("{}: {}", refusal.code, refusal.message))
        };
        self.watch_due |= retry && refusal.request_id.as_deref() == Some(WATCH);
        let waiting = refusal.request_id.and_then(|id| self.answered(&id));
        match (waiting, miss) {
            // Nobody waits any more when it came too late.
            (Some((request, _)), miss) => drop(request.reply.send(Err(miss))),
            (None, Miss::Refused(text)) => self.world().refused(self.client.ix, None, text),
            (None, Miss::Retry(code)) => self.world().count(&format!("error frame: {code}")),
        }
    }
}
