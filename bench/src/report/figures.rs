//! Medians over the rounds, and ratios of them.

use std::collections::BTreeMap;

use crate::record::{Record, Run};

/// The raw results by scenario.
pub struct Results {
    records: BTreeMap<String, Record>,
}

impl Results {
    pub fn new(records: Vec<Record>) -> Self {
        let records = records
            .into_iter()
            .map(|record| (record.scenario.clone(), record))
            .collect();
        Self { records }
    }

    pub fn record(&self, scenario: &str) -> Option<&Record> {
        self.records.get(scenario)
    }

    pub fn all(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The runs of one system in one variant, in the order of the rounds.
    pub fn runs(&self, scenario: &str, system: &str, variant: &str) -> Vec<&Run> {
        let record = self.record(scenario).into_iter();
        record
            .flat_map(|record| &record.runs)
            .filter(|run| run.system == system && run.variant == variant)
            .collect()
    }

    /// Systems and variants of a scenario, in the order of their first runs.
    pub fn lines(&self, scenario: &str) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        for run in self
            .record(scenario)
            .into_iter()
            .flat_map(|record| &record.runs)
        {
            let line = (run.system.clone(), run.variant.clone());
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    }

    /// The median of a figure; `None` when no run has it.
    pub fn median(&self, scenario: &str, system: &str, variant: &str, figure: &str) -> Option<f64> {
        let runs = self.runs(scenario, system, variant);
        median(
            runs.iter()
                .filter_map(|run| run.figures.get(figure).copied()),
        )
    }

    /// The median of one system's figure over another's, round by round where both have the same rounds.
    pub fn ratio(
        &self,
        scenario: &str,
        (system, variant): (&str, &str),
        (other, other_variant): (&str, &str),
        figure: &str,
    ) -> Option<f64> {
        let of = |system, variant| -> BTreeMap<usize, f64> {
            self.runs(scenario, system, variant)
                .iter()
                .filter_map(|run| Some((run.round, *run.figures.get(figure)?)))
                .collect()
        };
        let (ours, theirs) = (of(system, variant), of(other, other_variant));
        median(ours.iter().filter_map(|(round, value)| {
            let theirs = theirs.get(round).filter(|theirs| **theirs > 0.0)?;
            Some(value / theirs)
        }))
    }

    /// Seconds of processor time a part took, over the messages completed: the median, in µs.
    pub fn cost(&self, scenario: &str, system: &str, variant: &str, prefix: &str) -> Option<f64> {
        let runs = self.runs(scenario, system, variant);
        median(runs.iter().filter_map(|run| {
            let completed = run.figures.get("completed").filter(|n| **n > 0.0)?;
            let seconds: f64 = run
                .cpu
                .iter()
                .filter(|(name, _)| name.starts_with(prefix))
                .map(|(_, seconds)| seconds)
                .sum();
            Some(seconds * 1e6 / completed)
        }))
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Three digits that count: 11,532 → `11,500`; 1.234 → `1.23`.
pub fn shown(value: f64) -> String {
    if !value.is_finite() {
        return "—".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let unit = 10_f64.powi(magnitude - 2);
    let rounded = (value / unit).round() * unit;
    let decimals = usize::try_from((2 - magnitude).clamp(0, 6)).unwrap_or(0);
    let plain = format!("{rounded:.decimals$}");
    let (whole, fraction) = plain
        .split_once('.')
        .map_or((plain.as_str(), None), |(w, f)| (w, Some(f)));
    let mut grouped = String::new();
    let digits = whole.trim_start_matches('-');
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    match fraction {
        Some(fraction) => format!("{sign}{grouped}.{fraction}"),
        None => format!("{sign}{grouped}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn three_digits_count() {
        for (value, text) in [
            (11_532.0, "11,500"),
            (999_999.0, "1,000,000"),
            (1.234, "1.23"),
            (0.012_34, "0.0123"),
            (87.65, "87.7"),
            (250.4, "250"),
            (0.0, "0"),
            (f64::NAN, "—"),
        ] {
            assert_eq!(shown(value), text);
        }
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let mut runs = Vec::new();
        for (round, ours, theirs) in [(0, 10.0, 1.0), (1, 40.0, 2.0), (2, 90.0, 3.0)] {
            for (system, value) in [("pgchat", ours), ("gin", theirs)] {
                let mut run = Run::new(system, "ws", round);
                run.set("per_second", value);
                runs.push(run);
            }
        }
        let results = Results::new(vec![Record::of_test("throughput", runs)]);
        let ratio = results.ratio("throughput", ("pgchat", "ws"), ("gin", "ws"), "per_second");
        assert_eq!(ratio, Some(20.0));
    }
}
