//! Raw results: one JSON file for each scenario, overwritten by its newest run. The report is made from
//! these files and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use pgchat_harness::Failure;
use serde::{Deserialize, Serialize};

use crate::cpu::{self, Usage};
use crate::load::{Faults, Tally};
use crate::systems::Bench;

#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    pub scenario: String,
    pub conditions: Conditions,
    pub runs: Vec<Run>,
}

/// Under what the figures were measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Unix seconds.
    pub at: u64,
    pub commit: String,
    pub machine: String,
    pub postgres: String,
    /// What was set besides PostgreSQL's defaults.
    pub postgres_settings: Vec<String>,
    /// The peers' versions.
    pub versions: BTreeMap<String, String>,
    /// Short runs: figures are not for the record.
    pub quick: bool,
}

/// One run of one system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub system: String,
    /// What else tells runs of the scenario apart, such as `http`.
    pub variant: String,
    pub round: usize,
    pub figures: BTreeMap<String, f64>,
    /// Seconds of processor time in the window, by part.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cpu: BTreeMap<String, f64>,
    /// What went wrong; empty in a good run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub faults: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub complaints: Vec<String>,
}

impl Run {
    pub fn new(system: &str, variant: &str, round: usize) -> Self {
        Self {
            system: system.to_owned(),
            variant: variant.to_owned(),
            round,
            figures: BTreeMap::new(),
            cpu: BTreeMap::new(),
            faults: BTreeMap::new(),
            complaints: Vec::new(),
        }
    }

    pub fn set(&mut self, figure: &str, value: f64) {
        self.figures.insert(figure.to_owned(), value);
    }

    /// `NAME_p50_ms` and so on.
    pub fn set_latencies(&mut self, name: &str, nanos: &Histogram<u64>) {
        if nanos.is_empty() {
            return;
        }
        let ms = |value: u64| value as f64 / 1e6;
        for (label, quantile) in [
            ("p50", 0.5),
            ("p75", 0.75),
            ("p90", 0.9),
            ("p95", 0.95),
            ("p99", 0.99),
            ("p999", 0.999),
        ] {
            let value = ms(nanos.value_at_quantile(quantile));
            self.set(&format!("{name}_{label}_ms"), value);
        }
        self.set(&format!("{name}_max_ms"), ms(nanos.max()));
    }

    pub fn set_tally(&mut self, tally: &Tally) {
        self.set("sent", tally.sent as f64);
        self.set("completed", tally.completed as f64);
        self.set("frames", tally.frames as f64);
        self.set_latencies("end_to_end", &tally.end_to_end);
        self.set_latencies("answer", &tally.answers);
        self.set_faults(&tally.faults);
        self.complaints = tally.complaints.clone();
    }

    pub fn set_faults(&mut self, faults: &Faults) {
        let counts = [
            ("lost", faults.lost),
            ("doubled", faults.doubled),
            ("out_of_order", faults.out_of_order),
            ("refused", faults.refused),
            ("unanswered", faults.unanswered),
            ("cut", faults.cut),
        ];
        for (name, count) in counts {
            if count > 0 {
                *self.faults.entry(name.to_owned()).or_default() += count;
            }
        }
    }

    /// Rates and costs of the window.
    pub fn set_usage(&mut self, usage: &Usage) {
        self.cpu = usage.parts.clone();
        self.set("window_s", usage.elapsed);
        let completed = self.figures.get("completed").copied().unwrap_or(0.0);
        self.set("per_second", completed / usage.elapsed);
        if completed > 0.0 {
            for (name, prefix) in [
                ("load_generator", "load generator"),
                ("replicas", "replica"),
                ("postgres", "postgres"),
            ] {
                let micros = usage.of(prefix) * 1e6 / completed;
                self.set(&format!("{name}_us_per_message"), micros);
            }
        }
    }
}

impl Record {
    pub fn write(&self, dir: &Path) -> Result<(), Failure> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{}.json", self.scenario));
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(())
    }

    /// `None` when there is none yet.
    pub fn read(dir: &Path, scenario: &str) -> Result<Option<Self>, Failure> {
        let path = dir.join(format!("{scenario}.json"));
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path)?;
        let record =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Some(record))
    }

    pub fn has_faults_of(&self, system: &str) -> bool {
        self.runs
            .iter()
            .any(|run| run.system == system && !run.faults.is_empty())
    }
}

impl Conditions {
    pub async fn now(bench: &Bench, settings: &[String], quick: bool) -> Result<Self, Failure> {
        let client = bench.connect("postgres").await?;
        let postgres: String = client
            .query_one("select split_part(version(), ' on ', 1)", &[])
            .await?
            .get(0);
        let mut versions = BTreeMap::new();
        for (name, program, arguments) in [
            ("rustc", "rustc", ["--version"].as_slice()),
            ("go", "go", &["version"]),
            ("node", "node", &["--version"]),
        ] {
            if let Some(text) = output(program, arguments) {
                versions.insert(name.to_owned(), text);
            }
        }
        Ok(Self {
            at: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            commit: commit(),
            machine: machine()?,
            postgres,
            postgres_settings: settings.to_vec(),
            versions,
            quick,
        })
    }
}

/// With `+` when the tree has changes.
fn commit() -> String {
    let here = env!("CARGO_MANIFEST_DIR");
    let Some(id) = output("git", &["-C", here, "rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // What a benchmark writes is no change of what it measures.
    let status = ["-C", here, "status", "--porcelain", "--", ":/", ":!/docs"];
    match output("git", &status) {
        Some(_) => id + "+",
        None => id,
    }
}

fn machine() -> Result<String, Failure> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse().ok())
        .unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "{} cores ({model}), {} GiB, Linux {}",
        cpu::cores()?,
        kib.div_ceil(1024 * 1024),
        kernel.trim()
    ))
}

/// What a program prints; `None` when it fails or prints nothing.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
impl Record {
    pub fn of_test(scenario: &str, runs: Vec<Run>) -> Self {
        Self {
            scenario: scenario.to_owned(),
            conditions: Conditions {
                at: 0,
                commit: "test".to_owned(),
                machine: "test".to_owned(),
                postgres: "test".to_owned(),
                postgres_settings: Vec::new(),
                versions: BTreeMap::new(),
                quick: true,
            },
            runs,
        }
    }
}
