//! One who has no socket, and asks again and again what has happened.

use std::collections::HashSet;

use rand::rngs::StdRng;
use serde_json::Value;
use uuid::Uuid;

use super::shown::{Rule, Shown};
use super::{Case, Over, pause, story};
use crate::support::*;

/// What they show, by each rule, and the cursor that belongs to it.
pub struct Poller<'a> {
    case: &'a Case<'a>,
    user: Uuid,
    shown: [Shown; 2],
    cursor: String,
    random: StdRng,
    story: Vec<String>,
}

impl<'a> Poller<'a> {
    /// From here on, with what there is.
    pub async fn begin(case: &'a Case<'a>, user: Uuid, mut random: StdRng) -> Self {
        let begun = case.api(&mut random).events(user, None).await.ok(200);
        assert_eq!(begun["events"], serde_json::json!([]));
        let mut poller = Self {
            case,
            user,
            shown: [Rule::KeepsLater, Rule::DropsRepeats].map(Shown::nothing),
            cursor: cursor_of(&begun),
            random,
            story: Vec::new(),
        };
        poller.reload().await;
        poller
    }

    /// Until all is done and the last message of each conversation is shown.
    pub async fn poll_to_the_end(&mut self, over: &Over) {
        let case = self.case;
        while !over.get()
            || !case
                .conversations(self.user)
                .all(|mine| self.shown[0].shows_the_end_of(mine))
        {
            self.poll().await;
            pause(&mut self.random, 80).await;
        }
    }

    /// At one of the replicas.
    async fn poll(&mut self) {
        let api = self.case.api(&mut self.random);
        let told = api.events(self.user, Some(&self.cursor)).await.ok(200);
        self.story
            .push(format!("{} and then {}", self.cursor, told["cursor"]));
        for event in told["events"].as_array().expect("events") {
            self.apply(event).await;
        }
        self.cursor = cursor_of(&told);
    }

    async fn apply(&mut self, event: &Value) {
        self.story
            .push(event.to_string().chars().take(300).collect());
        self.case
            .check_that_it_is_theirs(self.user, event, &self.story);
        for shown in &mut self.shown {
            shown.apply(event);
        }
        if event["type"] == "resync_required" {
            self.reload().await;
        }
    }

    async fn reload(&mut self) {
        let held = self.case.held(self.user).await;
        for shown in &mut self.shown {
            shown.reload(&held);
        }
    }

    pub async fn until_it_shows_what_is_held(&mut self) {
        let held = self.case.held(self.user).await;
        let left: HashSet<String> = self.case.left(self.user).await;
        self.poll().await;
        let shown = self.shown.each_ref();
        let differences = shown.map(|shown| shown.differences(&held, &left));
        assert!(
            differences.iter().all(Vec::is_empty),
            "shown, and held: {differences:#?}\n{}",
            self.story()
        );
    }

    /// As a socket that was there from the first message on.
    pub fn check_that_nothing_was_missed(&self) {
        self.case
            .check_that_nothing_was_missed(self.user, &self.shown[0], &self.story);
    }

    fn story(&self) -> String {
        story(self.user, &self.story)
    }
}
