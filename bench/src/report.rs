//! `docs/benchmarks.md` and its plots, from the raw results and nothing else: it can be made anew without a run.

mod chart;
mod figures;
mod sections;

use std::fs;
use std::path::{Path, PathBuf};

use pgchat_harness::Failure;

use crate::record::Record;
use crate::scenarios::Scenario;
use figures::Results;

/// Writes the report to `path` and its plots beside the raw results.
pub fn write(results: &Path, path: &Path) -> Result<PathBuf, Failure> {
    let mut records = Vec::new();
    for scenario in Scenario::ALL {
        records.extend(Record::read(results, scenario.name())?);
    }
    if records.is_empty() {
        return Err(format!("there are no results in {}", results.display()).into());
    }
    let directory = results
        .file_name()
        .ok_or("the directory of the results has no name")?
        .to_string_lossy()
        .into_owned();
    let report = sections::all(&Results::new(records), &directory);
    for (name, svg) in &report.plots {
        fs::write(results.join(name), svg)?;
    }
    fs::write(path, &report.text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path.to_owned())
}
