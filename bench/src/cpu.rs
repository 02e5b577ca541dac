//! Where the processor's time went: ours, each replica's, PostgreSQL's by kind of process, and what the
//! rest of the machine took meanwhile. From /proc, so Linux only.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Instant;

use nix::unistd::{SysconfVar, sysconf};
use pgchat_harness::Failure;
use tokio_postgres::Client;

/// A process whose time is told apart.
#[derive(Clone, Debug)]
pub struct Part {
    pub name: String,
    pub pid: u32,
}

/// Reads what has been used so far.
pub struct Meter {
    parts: Vec<Part>,
    postmaster: Option<u32>,
    ticks_per_second: f64,
}

/// What had been used at one moment, in ticks.
pub struct Reading {
    at: Instant,
    parts: BTreeMap<String, u64>,
    /// By pid, and PostgreSQL's processes that have ended under 0.
    postgres: HashMap<u32, u64>,
    machine: Machine,
}

#[derive(Clone, Copy, Default)]
struct Machine {
    busy: u64,
    cores: u64,
}

/// Processor time between two readings, in seconds.
#[derive(Debug, Default)]
pub struct Usage {
    pub elapsed: f64,
    /// `load generator`, `replica 0` …, `postgres …` by kind, `rest of the machine`.
    pub parts: BTreeMap<String, f64>,
}

impl Meter {
    pub fn new(parts: Vec<Part>, postmaster: Option<u32>) -> Result<Self, Failure> {
        let ticks =
            sysconf(SysconfVar::CLK_TCK)?.ok_or("the system does not tell its clock ticks")?;
        let own = Part {
            name: "load generator".to_owned(),
            pid: std::process::id(),
        };
        Ok(Self {
            parts: std::iter::once(own).chain(parts).collect(),
            postmaster,
            ticks_per_second: ticks as f64,
        })
    }

    pub fn read(&self) -> Result<Reading, Failure> {
        let mut parts = BTreeMap::new();
        for part in &self.parts {
            let stat = Stat::of(part.pid)?;
            *parts.entry(part.name.clone()).or_default() += stat.own;
        }
        let mut postgres = HashMap::new();
        if let Some(postmaster) = self.postmaster {
            let stat = Stat::of(postmaster)?;
            postgres.insert(postmaster, stat.own);
            postgres.insert(0, stat.ended_children);
            for entry in fs::read_dir("/proc")? {
                let Some(pid) = entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok())
                else {
                    continue;
                };
                // One that has ended meanwhile is among the ended children next time.
                if let Ok(stat) = Stat::of(pid)
                    && stat.parent == postmaster
                {
                    postgres.insert(pid, stat.own);
                }
            }
        }
        Ok(Reading {
            at: Instant::now(),
            parts,
            postgres,
            machine: machine()?,
        })
    }

    /// What was used between two readings. `kinds` names PostgreSQL's processes, as [`kinds`] reads them.
    pub fn between(&self, from: &Reading, to: &Reading, kinds: &HashMap<u32, String>) -> Usage {
        let seconds = |ticks: u64| ticks as f64 / self.ticks_per_second;
        let mut parts = BTreeMap::new();
        let mut told = 0;
        for (name, ticks) in &to.parts {
            let used = ticks.saturating_sub(from.parts.get(name).copied().unwrap_or(0));
            told += used;
            parts.insert(name.clone(), seconds(used));
        }
        for (pid, ticks) in &to.postgres {
            let used = ticks.saturating_sub(from.postgres.get(pid).copied().unwrap_or(0));
            told += used;
            let kind = kinds.get(pid).map_or("other", String::as_str);
            *parts.entry(format!("postgres {kind}")).or_default() += seconds(used);
        }
        let busy = to.machine.busy.saturating_sub(from.machine.busy);
        let rest = seconds(busy.saturating_sub(told));
        parts.insert("rest of the machine".to_owned(), rest);
        Usage {
            elapsed: (to.at - from.at).as_secs_f64(),
            parts,
        }
    }
}

impl Usage {
    /// Seconds of all parts whose name begins so.
    pub fn of(&self, prefix: &str) -> f64 {
        self.parts
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(_, seconds)| seconds)
            .sum()
    }
}

/// What each of PostgreSQL's processes does: `writers` for sessions that run statements, `listeners`, or
/// the server's own kinds, such as `walwriter`.
pub async fn kinds(client: &Client) -> Result<HashMap<u32, String>, Failure> {
    let rows = client
        .query(
            "select pid, case when backend_type <> 'client backend' then backend_type
                              when query ilike 'listen%' then 'listeners'
                              else 'writers' end
               from pg_stat_activity where pid <> pg_backend_pid()",
            &[],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((u32::try_from(row.get::<_, i32>(0))?, row.get(1))))
        .collect()
}

/// How many bytes of memory a process has resident.
pub fn resident(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS in /proc/PID/status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

struct Stat {
    parent: u32,
    own: u64,
    ended_children: u64,
}

impl Stat {
    fn of(pid: u32) -> Result<Self, Failure> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
    }

    /// proc(5), /proc/PID/stat. The name in brackets may hold anything.
    fn parse(text: &str) -> Result<Self, Failure> {
        let (_, rest) = text
            .rsplit_once(')')
            .ok_or("/proc/PID/stat without a name")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Field 3, the state, is the first behind the name.
        let field = |number: usize| -> Result<u64, Failure> {
            let text = fields.get(number - 3).ok_or("/proc/PID/stat is short")?;
            Ok(text.parse()?)
        };
        Ok(Self {
            parent: u32::try_from(field(4)?)?,
            own: field(14)? + field(15)?,
            ended_children: field(16)? + field(17)?,
        })
    }
}

fn machine() -> Result<Machine, Failure> {
    let text = fs::read_to_string("/proc/stat")?;
    let first = text.lines().next().ok_or("/proc/stat is empty")?;
    let ticks: Vec<u64> = first
        .split_whitespace()
        .skip(1)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    // user nice system idle iowait irq softirq steal; guests are counted in user and nice.
    let busy = ticks
        .iter()
        .take(8)
        .enumerate()
        .filter(|(place, _)| *place != 3 && *place != 4)
        .map(|(_, ticks)| ticks)
        .sum();
    let cores = text.lines().filter(|line| line.starts_with("cpu")).count() - 1;
    Ok(Machine {
        busy,
        cores: cores as u64,
    })
}

/// Of the machine.
pub fn cores() -> Result<u64, Failure> {
    Ok(machine()?.cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_is() {
        let line = "42 (a) b (c) S 7 1 1 0 -1 4194560 1 2 3 4 100 20 30 5 20 0 1 0 9 1 1";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.own, stat.ended_children), (7, 120, 35));
        assert!(Stat::parse("42 (a) S 7").is_err());
    }

    #[test]
    fn our_own_work_is_counted() {
        let meter = Meter::new(Vec::new(), None).unwrap();
        let from = meter.read().unwrap();
        let began = Instant::now();
        // The system counts in ticks, and other processes may have all of them for a while.
        let counted = || {
            let used = meter.between(&from, &meter.read().unwrap(), &HashMap::new());
            used.parts["load generator"] > 0.0
        };
        let mut sum = 0_u64;
        while !counted() {
            for _ in 0..1_000_000 {
                sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
            }
            assert!(began.elapsed().as_secs() < 60, "nothing is counted");
        }
        assert!(resident(std::process::id()).unwrap() > 0);
    }
}
