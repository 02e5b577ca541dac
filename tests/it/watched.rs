//! What operators are given to watch, deploy/grafana and deploy/prometheus: every figure in it is really exported, and
//! every alert says what to do.

pub mod figures;
mod lines;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::*;
use figures::{Exported, Used};

const HANDBOOK: &str = "docs/on-call.md";
const METRICS: &str = "docs/metrics.md";

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(at(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
}

/// Every rule of every file that docker compose's Prometheus loads.
fn rules() -> Vec<Value> {
    let files = fs::read_dir(at("deploy/prometheus")).expect("a folder");
    let mut rules = Vec::new();
    for file in files.map(|file| file.expect("a file").file_name()) {
        let name = file.to_str().expect("a name");
        if !name.starts_with("alerts") || !name.ends_with(".yml") {
            continue;
        }
        let text = read(&format!("deploy/prometheus/{name}"));
        let file: Value = serde_norway::from_str(&text).expect("YAML");
        for group in file["groups"].as_array().expect("groups") {
            rules.extend_from_slice(group["rules"].as_array().expect("rules"));
        }
    }
    rules
}

pub fn dashboards() -> Vec<Value> {
    let files = fs::read_dir(at("deploy/grafana/dashboards")).expect("a folder");
    files
        .map(|file| fs::read_to_string(file.expect("a file").path()).expect("a file"))
        .map(|text| serde_json::from_str(&text).expect("JSON"))
        .collect()
}

fn text<'a>(of: &'a Value, what: &str) -> &'a str {
    let text = of[what].as_str().unwrap_or_default();
    assert!(!text.is_empty(), "no {what}: {of}");
    text
}

/// What is chosen above a dashboard, of this type.
fn variables<'a>(dashboard: &'a Value, of_type: &'a str) -> impl Iterator<Item = &'a Value> {
    let listed = dashboard["templating"]["list"].as_array();
    let listed = listed.into_iter().flatten();
    listed.filter(move |variable| variable["type"] == of_type)
}

/// A replica that has had some traffic: figures by route and status are there from the first such request on.
pub async fn used_replica(database: &Database) -> Replica {
    let replica = Replica::start(database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    api.send(conversation, ALICE, "hello").await;
    api.search(ALICE, "q=hello").await;
    boris.expect("chat_message").await;
    boris.send_command("ping", json!({})).await;
    replica
}

async fn scraped() -> String {
    let database = Database::fresh().await;
    let replica = used_replica(&database).await;
    replica.api().get("/metrics").await.text
}

async fn exported() -> Exported {
    Exported::of(&scraped().await)
}

#[tokio::test]
async fn every_figure_of_the_dashboards_and_alerts_is_exported_and_every_exported_one_is_shown() {
    let exported = exported().await;
    let mut used = Used::default();
    for rule in rules() {
        used.check(text(&rule, "expr"), &exported);
        for written in ["summary", "description"] {
            used.check_labels_named_in(text(&rule["annotations"], written), &exported);
        }
    }
    let mut shown = Used::default();
    for dashboard in dashboards() {
        for panel in dashboard["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                shown.check(text(target, "expr"), &exported);
                let legend = target["legendFormat"].as_str().unwrap_or_default();
                shown.check_labels_named_in(legend, &exported);
            }
        }
        for variable in variables(&dashboard, "query") {
            shown.check_variable(text(&variable["query"], "query"), &exported);
        }
    }
    let faults: Vec<String> = used.faults.iter().chain(&shown.faults).cloned().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(used.expressions >= 15 && shown.expressions >= 50);
    let unseen = &exported.families() - &shown.families;
    assert!(unseen.is_empty(), "on no dashboard: {unseen:?}");
}

/// The page of metrics lists each with its type and its labels, and none that is not there.
#[tokio::test]
async fn every_figure_is_on_the_page_of_metrics_with_its_type_and_labels() {
    let scraped = scraped().await;
    let exported = Exported::of(&scraped);
    let types: BTreeMap<&str, &str> = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let real: BTreeSet<String> = exported
        .families()
        .iter()
        .map(|name| {
            let labels: Vec<String> = exported.labels(name).into_iter().collect();
            format!("{name} {} {}", types[name.as_str()], labels.join(" "))
        })
        .collect();

    let page = read(METRICS);
    let listed: BTreeSet<String> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, kind, labels, what, _] = cells[..] else {
                panic!("{line}");
            };
            assert!(!what.is_empty(), "{line}");
            let mut labels: Vec<&str> = labels.split('`').skip(1).step_by(2).collect();
            labels.sort_unstable();
            format!("{} {kind} {}", name.trim_matches('`'), labels.join(" "))
        })
        .collect();
    assert_eq!(real, listed, "the figures, and those of {METRICS}");
}

/// Rules that warn before a bound is reached ask for the bound that is set.
#[tokio::test]
async fn the_bounds_that_rules_compare_with_are_those_that_are_set() {
    let database = Database::fresh().await;
    for (connections, queue) in [("77", "555"), ("0", "10000")] {
        let settings = [("MAX_CONNECTIONS", connections), ("WRITER_QUEUE", queue)];
        let replica = Replica::start(&database, &settings).await;
        for (figure, value) in [
            ("pgchat_connections_limit", connections),
            ("pgchat_writer_queue_limit", queue),
        ] {
            let found = replica.api().metric(figure).await;
            assert_eq!(found.to_string(), value, "{figure}");
        }
        let figures = replica.api().get("/metrics").await.text;
        assert!(figures.contains("\npgchat_connections_limit "), "{figures}");
    }
}

#[tokio::test]
async fn what_is_misspelt_is_found() {
    let exported = exported().await;
    for (expression, fault) in [
        ("pgchat_conections", "pgchat_conections is not exported"),
        ("rate(pgchat_frames[1m])", "pgchat_frames is not exported"),
        ("pgchat_pool_connections{pool=\"requests\"}", ""),
        (
            "pgchat_pool_connections{pool=\"request\"}",
            "no series of pgchat_pool_connections has pool=\"request\"",
        ),
        (
            "pgchat_pool_connections{pools=~\"re.*\"}",
            "pgchat_pool_connections has no label pools",
        ),
        (
            "sum by (kind) (rate(pgchat_frames_total[1m]))",
            "pgchat_frames_total has no label kind",
        ),
        (
            "sum without (le) (pgchat_connections)",
            "pgchat_connections has no label le",
        ),
        (
            "pgchat_connections / on (state) pgchat_pool_connections",
            "pgchat_connections has no label state",
        ),
        ("sum by (instance) (up{job=\"pgchat\"})", ""),
        ("up{jobs=\"pgchat\"}", "up has no label jobs"),
        ("{state=\"idle\"}", "names no metric: {state=\"idle\"}"),
        ("sum(pgchat_connections", "is no PromQL"),
    ] {
        let mut used = Used::default();
        used.check(expression, &exported);
        match fault {
            "" => assert!(used.faults.is_empty(), "{:?}", used.faults),
            fault => assert!(
                used.faults.iter().any(|found| found.contains(fault)),
                "{expression}: {:?}",
                used.faults
            ),
        }
    }
    let mut used = Used::default();
    used.check_variable("label_values(pgchat_build_info, host)", &exported);
    used.check_labels_named_in(
        "{{ $labels.statuses }} {{rout}} {{ $labels.instance }}",
        &exported,
    );
    assert_eq!(used.faults.len(), 3, "{:?}", used.faults);
}

#[test]
fn every_alert_says_how_bad_it_is_and_has_its_section_in_the_handbook() {
    let handbook = read(HANDBOOK);
    let sections: BTreeSet<&str> = handbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|heading| heading.starts_with("Pgchat"))
        .collect();
    let rules = rules();
    let mut names = BTreeSet::new();
    for rule in &rules {
        let name = text(rule, "alert");
        assert!(names.insert(name), "{name} is there twice");
        text(rule, "for");
        let severity = text(&rule["labels"], "severity");
        assert!(["warning", "critical"].contains(&severity), "{rule}");
        text(&rule["annotations"], "summary");
        text(&rule["annotations"], "description");
        // As GitHub makes anchors: of one word they are its small letters.
        let anchor = name.to_ascii_lowercase();
        let repository = env!("CARGO_PKG_REPOSITORY");
        assert_eq!(
            text(&rule["annotations"], "runbook_url"),
            format!("{repository}/blob/main/{HANDBOOK}#{anchor}")
        );
    }
    assert_eq!(names, sections, "alerts, and sections of {HANDBOOK}");
    for name in names {
        let heading = format!("### {name}\n");
        let section = handbook.split(&heading).nth(1).expect("a section");
        let section = section.split("\n#").next().unwrap_or_default();
        for part in ["**Means:** ", "**Do:** "] {
            assert!(section.contains(part), "{name} has no {part}");
        }
    }
}

/// The index above the sections: every alert in the order of the rules, with its severity, its thresholds and how long they
/// must be exceeded.
#[test]
fn the_index_of_the_alerts_is_as_the_rules_are() {
    let handbook = read(HANDBOOK);
    let rows: Vec<Vec<&str>> = handbook
        .lines()
        .filter(|line| line.starts_with("| [Pgchat"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let rules = rules();
    assert_eq!(rows.len(), rules.len());
    for (row, rule) in rows.iter().zip(&rules) {
        let [_, alert, severity, condition, first, _] = row[..] else {
            panic!("{row:?}");
        };
        let name = text(rule, "alert");
        let anchor = name.to_ascii_lowercase();
        assert_eq!(alert, format!("[{name}](#{anchor})"));
        assert_eq!(severity, text(&rule["labels"], "severity"), "{name}");
        assert!(!first.is_empty(), "{name}");
        let (exceeded, lasting) = condition.rsplit_once(", for ").expect("how long");
        assert_eq!(
            lasting.replace(" min", "m").replace(' ', ""),
            text(rule, "for")
        );
        for threshold in thresholds(text(rule, "expr")) {
            let percent = format!("{:.0} %", 100.0 * threshold);
            let said = [format!(" {threshold} "), format!(" {percent} ")];
            assert!(
                said.iter()
                    .any(|said| format!("{exceeded} ").contains(said)),
                "{name}: {threshold}"
            );
        }
    }
}

/// What an expression says its sides must be above, but for "above nothing".
fn thresholds(expression: &str) -> Vec<f64> {
    let numbers = expression.split("> ").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        rest[..end.unwrap_or(rest.len())].parse().ok()
    });
    numbers.filter(|number| *number > 0.0).collect()
}

#[test]
fn every_panel_is_explained_asks_the_chosen_source_and_environment_and_hides_no_other() {
    let sources = read("deploy/grafana/provisioning/datasources/prometheus.yml");
    let sources: Value = serde_norway::from_str(&sources).expect("YAML");
    let source = text(&sources["datasources"][0], "uid");
    for dashboard in dashboards() {
        text(&dashboard, "uid");
        text(&dashboard, "title");
        // Whoever imports it has another source; here it is the provisioned one.
        let sources: Vec<&Value> = variables(&dashboard, "datasource").collect();
        assert_eq!(sources.len(), 1, "{sources:?}");
        assert_eq!(sources[0]["name"], "datasource");
        assert_eq!(sources[0]["current"]["value"], source);
        let chosen = "${datasource}";
        for variable in variables(&dashboard, "query") {
            assert_eq!(variable["datasource"]["uid"], chosen, "{variable}");
        }
        let panels = dashboard["panels"].as_array().expect("panels");
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in panels {
            text(panel, "title");
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
            let place = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
            for x in place("x")..place("x") + place("w") {
                assert!(x < 24, "beyond the edge: {panel}");
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "over another: {panel}");
                }
            }
            if panel["type"] == "row" {
                continue;
            }
            text(panel, "description");
            assert_eq!(panel["datasource"]["uid"], chosen, "{panel}");
            for target in panel["targets"].as_array().into_iter().flatten() {
                assert_eq!(target["datasource"]["uid"], chosen, "{panel}");
                // Of all that is asked for, so that no replica of another environment, or that was not chosen, is among them.
                let expression = text(target, "expr");
                let selected = "namespace=~\"$namespace\", instance=~\"$instance\"";
                let all = expression.matches('{').count();
                assert!(all > 0, "{expression}");
                assert_eq!(expression.matches(selected).count(), all, "{expression}");
            }
        }
    }
}
