//! What is made of the times that somebody waited, quiet and attacked.

use std::fmt::Write;

use super::measured::Attack;

/// What the others' times may grow to, and what is looked at of them.
pub const MOST: f64 = 2.0;
pub const SHARES: [(&str, f64); 3] = [("median", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// Milliseconds, sorted.
pub struct Times(Vec<f64>);

/// What the others waited for.
pub const WAITS: [&str; 2] = ["message", "page of history"];

/// The times of messages and of pages of history.
pub type Waits = [Times; 2];

pub struct Round {
    pub quiet: Waits,
    pub attacked: Waits,
}

/// Of one attack, over all of its rounds.
pub struct Measured {
    pub attack: &'static Attack,
    pub rounds: Vec<Round>,
    pub quiet_work: String,
    pub attacked_work: String,
    /// The most that it had more than before the first round, at the end of an attack.
    pub grown_kib: u64,
    pub connections: usize,
    /// Attackers that gave up half-way: that would make the figures good.
    pub gave_up: Vec<String>,
}

impl Times {
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    pub fn at(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }
}

/// The median of the rounds, and the least and the most of them.
pub struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    pub fn of(figures: impl Iterator<Item = f64>) -> Self {
        let sorted = Times::of(figures.collect());
        Self {
            least: sorted.at(0.0),
            median: sorted.at(0.5),
            most: sorted.at(1.0),
        }
    }
}

impl Measured {
    pub fn over_rounds(&self, of: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(of))
    }

    /// How much longer they waited under attack.
    pub fn ratio(&self, wait: usize, share: f64) -> Spread {
        self.over_rounds(|round| round.attacked[wait].at(share) / round.quiet[wait].at(share))
    }

    /// What is beyond its bound, in words.
    pub fn faults(&self) -> Vec<String> {
        let name = self.attack.name;
        let mut faults = self.gave_up.clone();
        for (wait, what) in WAITS.iter().enumerate() {
            for (of, share) in SHARES {
                let ratio = self.ratio(wait, share).median;
                if ratio > MOST {
                    faults.push(format!("{name}: {what}: {of}: {ratio:.2} times"));
                }
            }
        }
        if self.grown_kib > self.attack.most_mib * 1024 {
            faults.push(format!("{name}: {} KiB of memory", self.grown_kib));
        }
        faults
    }

    pub fn table(&self) -> Result<String, std::fmt::Error> {
        let Attack { name, what, .. } = self.attack;
        let mut table = String::new();
        writeln!(table, "\n**{name}**: {what}\n")?;
        let columns = SHARES.map(|(of, _)| of).join(" | ");
        writeln!(table, "| | | samples a round | {columns} |")?;
        writeln!(table, "| --- | --- | --- | --- | --- | --- |")?;
        for (wait, what) in WAITS.iter().enumerate() {
            let mut line = |when: &str, waits: fn(&Round) -> &Waits| {
                let samples = self.over_rounds(|round| waits(round)[wait].0.len() as f64);
                let cells = SHARES.map(|(_, share)| {
                    let median = self
                        .over_rounds(|round| waits(round)[wait].at(share))
                        .median;
                    format!("{median:.1} ms")
                });
                let (samples, cells) = (samples.median, cells.join(" | "));
                writeln!(table, "| {what} | {when} | {samples} | {cells} |")
            };
            line("quiet", |round| &round.quiet)?;
            line("attacked", |round| &round.attacked)?;
            let cells = SHARES.map(|(_, share)| {
                let ratio = self.ratio(wait, share);
                format!(
                    "**{:.2}** ({:.2} to {:.2})",
                    ratio.median, ratio.least, ratio.most
                )
            });
            writeln!(table, "| {what} | ratio | | {} |", cells.join(" | "))?;
        }
        writeln!(
            table,
            "\nIn the last round the replica handled {} while it was quiet, and {} under attack. At the end of an attack it had at most {:.1} MiB more \
             resident memory than before the first one (the bound is {} MiB), with {} files and connections open.",
            self.quiet_work,
            self.attacked_work,
            self.grown_kib as f64 / 1024.0,
            self.attack.most_mib,
            self.connections,
        )?;
        Ok(table)
    }
}
