//! Prometheus with the files of deploy/prometheus as they stand there: only how it finds the replicas, and how often it
//! asks them, are this test's.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::Url;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::*;
use crate::watched::dashboards;

/// Found anew every five seconds by its name, in docker compose.
const FOUND_BY_NAME: &str = "dns_sd_configs:
      - names: [pgchat]
        type: A
        port: 8081
        refresh_interval: 5s
";

/// The two users send as fast as they are answered.
const UNLIMITED: (&str, &str) = ("RATE_LIMIT_PER_SECOND", "0");

struct Prometheus {
    port: u16,
    log: PathBuf,
    _process: Process,
}

impl Prometheus {
    async fn start(program: &Path, replicas: &[Replica]) -> Self {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
        let dir = fresh_dir("prometheus");
        fs::copy(files.join("alerts.yml"), dir.join("alerts.yml")).expect("copied");
        let mut config = fs::read_to_string(files.join("prometheus.yml")).expect("its settings");
        let addresses: Vec<String> = replicas
            .iter()
            .map(|replica| format!("127.0.0.1:{}", replica.port()))
            .collect();
        let targets = format!("static_configs: [{{targets: {addresses:?}}}]\n");
        for (written, value) in [
            (FOUND_BY_NAME, targets.as_str()),
            ("_interval: 15s", "_interval: 1s"),
        ] {
            assert!(
                config.contains(written),
                "prometheus.yml has no {written:?}"
            );
            config = config.replace(written, value);
        }
        let path = dir.join("prometheus.yml");
        fs::write(&path, config).expect("written");
        let port = free_port();
        let log = dir.join("log");
        let output = File::create(&log).expect("a log file");
        let process = Process::start(
            Command::new(program)
                .arg(format!("--config.file={}", path.display()))
                .arg(format!(
                    "--storage.tsdb.path={}",
                    dir.join("data").display()
                ))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("a log file"))
                .stderr(output),
            Signal::Terminate,
        );
        let prometheus = Self {
            port,
            log,
            _process: process,
        };
        eventually("Prometheus is ready", || async {
            let url = format!("http://127.0.0.1:{port}/-/ready");
            let answer = reqwest::get(url).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        prometheus
    }

    /// What stands under `data` in an answer of its API.
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let base = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let url = Url::parse_with_params(&base, parameters).expect("an address");
        let answer = reqwest::get(url).await.expect("an answer");
        let mut answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].take()
    }

    /// Whether an expression has a value, which is a number, at this moment.
    async fn has_value(&self, expression: &str) -> bool {
        let found = self.ask("query", &[("query", expression)]).await;
        let series = found["result"].as_array().expect("series");
        series.iter().any(|series| {
            series["value"][1]
                .as_str()
                .is_some_and(|value| value != "NaN")
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- Prometheus on port {} wrote\n{log}", self.port);
        }
    }
}

/// Something of everything that is measured, over and over: a rate is made of two looks at what grows.
async fn traffic(database: Database, replicas: [Replica; 2], stop: CancellationToken) {
    let [here, there] = &replicas;
    let conversation = here.api().open_conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(here, ALICE).await;
    let mut boris = Socket::connect(there, BORIS).await;
    for number in 0.. {
        if stop.is_cancelled() {
            break;
        }
        for alices_turn in [true, false] {
            let (from, to, replica, sender) = if alices_turn {
                (&mut alice, &mut boris, here, ALICE)
            } else {
                (&mut boris, &mut alice, there, BORIS)
            };
            let content = format!("message {number}");
            let data = json!({"conversationId": conversation, "content": content});
            from.answer_to("send_message", data).await;
            to.before_message(&content).await;
            replica.api().send(conversation, sender, "over HTTP").await;
            let data = json!({"conversationId": conversation, "isTyping": number % 2 == 0});
            from.answer_to("typing", data).await;
            from.answer_to("watch_presence", json!({"userIds": [BORIS, ALICE]}))
                .await;
            let data = json!({"conversationId": conversation, "content": " "});
            from.refused("send_message", data, "validation_failed")
                .await;
            Socket::connect(replica, CARLA).await.close().await;
            replica
                .api()
                .get("/api/v1/nowhere")
                .await
                .refused(404, "route_not_found");
        }
        here.api().search(ALICE, "q=message").await.ok(200);
        // Nobody has built the index of its language.
        there
            .api()
            .search(ALICE, "q=message")
            .await
            .refused(503, "unavailable");
    }
    drop(database);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Prometheus: scripts/test-deployment.sh runs it"]
async fn prometheus_has_a_value_for_all_that_the_dashboard_asks_for_and_evaluates_every_rule() {
    let program =
        std::env::var_os("PROMETHEUS").expect("scripts/test-deployment.sh sets PROMETHEUS");
    let database = Database::fresh().await;
    let replicas = [
        Replica::start(&database, &[UNLIMITED]).await,
        Replica::start(&database, &[UNLIMITED, ("SEARCH_LANGUAGE", "english")]).await,
    ];
    let prometheus = Prometheus::start(Path::new(&program), &replicas).await;
    let stop = CancellationToken::new();
    let load = tokio::spawn(traffic(database, replicas, stop.clone()));

    let mut asked = 0;
    for dashboard in dashboards() {
        for panel in dashboard["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let written = target["expr"].as_str().expect("an expression");
                let expression = written
                    .replace("$instance", ".*")
                    .replace("$namespace", ".*")
                    .replace("$__rate_interval", "1m");
                assert!(!expression.contains('$'), "{written}");
                eventually(&format!("{}: {expression}", panel["title"]), || async {
                    prometheus.has_value(&expression).await.then_some(())
                })
                .await;
                asked += 1;
            }
        }
    }
    assert!(asked >= 50, "{asked}");

    let instances = prometheus.ask("label/instance/values", &[]).await;
    assert_eq!(instances.as_array().map(Vec::len), Some(2), "{instances}");
    let rules = eventually("every rule was evaluated", || async {
        let groups = prometheus.ask("rules", &[]).await["groups"].take();
        let groups = groups.as_array().expect("groups").clone();
        let rules: Vec<Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().expect("rules").clone())
            .collect();
        rules
            .iter()
            .all(|rule| rule["health"] != "unknown")
            .then_some(rules)
    })
    .await;
    let faults: BTreeSet<String> = rules
        .iter()
        .filter(|rule| rule["health"] != "ok")
        .map(Value::to_string)
        .collect();
    assert!(faults.is_empty() && rules.len() >= 15, "{faults:?}");

    stop.cancel();
    within("the load ends", load)
        .await
        .expect("no request failed");
}
