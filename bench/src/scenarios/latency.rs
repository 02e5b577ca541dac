//! How long a message takes from when it was due to the other participant's socket on another replica.

use pgchat_harness::Failure;

use super::floor::{self, Floor};
use super::pairs::{self, Setting};
use crate::load::{Pace, Via};
use crate::record::Run;
use crate::settings::Settings;
use crate::systems::{Bench, System};

const REPLICAS: usize = 2;
/// Messages a second that every system follows, and from how many senders.
pub const EASY: (u64, usize) = (500, 64);
/// Messages a second that no peer follows.
const HARD: (u64, usize) = (5_000, 256);
/// For each round of the others: the floor's median is one of two from run to run, half as long again in one as in the other.
const ROUNDS: usize = 2;

/// One line of the table.
#[derive(Clone, Copy)]
enum Line {
    Floor(Floor),
    Service(Setting, &'static str),
}

pub async fn run(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let effort = settings.effort;
    let lines = lines(settings);
    let rounds = match effort.quick {
        true => effort.rounds,
        false => ROUNDS * effort.rounds,
    };
    let mut runs = Vec::new();
    for round in 0..rounds {
        for line in from_another_place(&lines, round, rounds) {
            runs.push(match line {
                Line::Floor(floor) => floor::run(bench, floor, EASY.0, effort, round).await?,
                Line::Service(setting, variant) => {
                    pairs::run(bench, setting, effort, variant, round).await?
                }
            });
        }
    }
    Ok(runs)
}

fn lines(settings: &Settings) -> Vec<Line> {
    let setting = |system, (rate, senders)| Setting {
        system,
        replicas: REPLICAS,
        senders,
        via: Via::WebSocket,
        pace: Pace::Open(rate),
    };
    let floors = Floor::chosen(settings.effort).map(Line::Floor);
    let easy = settings.systems_and_without_search().into_iter();
    let easy = easy.map(|system| Line::Service(setting(system, EASY), "500/s"));
    let hard = settings.systems.contains(&System::Pgchat);
    let hard = hard.then(|| Line::Service(setting(System::Pgchat, HARD), "5000/s"));
    floors.chain(easy).chain(hard).collect()
}

/// Each round begins at another line, so that none always comes after the one that leaves the disk most to do.
fn from_another_place<T: Copy>(lines: &[T], round: usize, rounds: usize) -> Vec<T> {
    let (before, from_here) = lines.split_at(round * lines.len() / rounds);
    [from_here, before].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_every_line_and_begins_with_another() {
        let rounds: Vec<_> = (0..3)
            .map(|round| from_another_place(&[1, 2, 3, 4, 5, 6], round, 3))
            .collect();
        let expected = [[1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 1, 2], [5, 6, 1, 2, 3, 4]];
        assert_eq!(rounds, expected);
    }
}
