//! nginx with deploy/nginx/nginx.conf as it stands there: only its own address, and where the replicas are, are this test's.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::dns::NameServer;
use crate::support::*;

/// From this version on an upstream server may `resolve`.
const RESOLVES: (u32, u32, u32) = (1, 27, 3);

pub struct Nginx {
    pub port: u16,
    log: PathBuf,
    _process: Process,
}

/// How nginx learns of the replicas.
pub enum Replicas<'a> {
    /// By their name, as the file has it.
    Named(&'a NameServer),
    /// By their addresses, as a version must that cannot ask again.
    Listed(&'a [Ipv4Addr]),
}

/// The programs that scripts/ensure-nginx.sh found, of which there must be one that can ask again for a name.
pub fn program(resolves: bool) -> PathBuf {
    let named =
        std::env::var_os("NGINX_PROGRAMS").expect("scripts/test-deployment.sh sets NGINX_PROGRAMS");
    std::env::split_paths(&named)
        .find(|program| (version(program) >= RESOLVES) == resolves)
        .unwrap_or_else(|| panic!("no nginx in {named:?} that resolves: {resolves}"))
}

fn version(program: &Path) -> (u32, u32, u32) {
    let said = Command::new(program).arg("-v").output().expect("nginx -v");
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    let numbers: Vec<u32> = text
        .split_once("nginx/")
        .map(|(_, version)| version)
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit())
        .take(3)
        .map_while(|number| number.parse().ok())
        .collect();
    match numbers[..] {
        [major, minor, patch] => (major, minor, patch),
        _ => panic!("{}: {text}", program.display()),
    }
}

impl Nginx {
    /// In front of replicas that all listen on `replica_port`.
    pub async fn start(program: &Path, replicas: Replicas<'_>, replica_port: u16) -> Self {
        Self::start_with(program, replicas, replica_port, &[]).await
    }

    /// In front of replicas that all listen on `replica_port`, by the file with `changes`: what is written there, and what takes its place.
    pub async fn start_with(
        program: &Path,
        replicas: Replicas<'_>,
        replica_port: u16,
        changes: &[(&str, &str)],
    ) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx/nginx.conf");
        let mut config = fs::read_to_string(file).expect("deploy/nginx/nginx.conf");
        let mut set = |written: &str, value: &str| {
            assert!(config.contains(written), "nginx.conf has no {written:?}");
            config = config.replace(written, value);
        };
        for (written, value) in changes {
            set(written, value);
        }
        let port = free_port();
        set("listen 80;", &format!("listen 127.0.0.1:{port};"));
        match replicas {
            Replicas::Named(names) => {
                set(
                    "resolver 127.0.0.11",
                    &format!("resolver 127.0.0.1:{}", names.port),
                );
                set(
                    "server pgchat:8081",
                    &format!("server pgchat:{replica_port}"),
                );
            }
            Replicas::Listed(addresses) => {
                for settings in ["max_fails=1 fail_timeout=3s", "max_fails=0"] {
                    let listed: String = addresses
                        .iter()
                        .map(|address| format!("server {address}:{replica_port} {settings};\n"))
                        .collect();
                    set(&format!("server pgchat:8081 resolve {settings};"), &listed);
                }
            }
        }
        Self::run(program, config, port, "/health/live").await
    }

    /// In front of one replica, by the snippet of deploy/README.md for the `server` of an application.
    pub async fn start_below_a_path(program: &Path, replica_port: u16) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/README.md");
        let page = fs::read_to_string(file).expect("deploy/README.md");
        let section = page.split("### Below a path").nth(1);
        let snippet = blocks(section.expect("the section"), "nginx")[0];
        let map = snippet
            .split("in http: ")
            .nth(1)
            .and_then(|map| map.lines().next());
        let map = map.expect("its map");
        let there = format!("127.0.0.1:{replica_port}");
        assert!(snippet.contains("127.0.0.1:8081"), "{snippet}");
        let snippet = snippet.replace("127.0.0.1:8081", &there);
        let port = free_port();
        let config = format!(
            "events {{}} http {{ {map}\nserver {{ listen 127.0.0.1:{port}; {snippet} }} }}"
        );
        Self::run(program, config, port, "/chat/").await
    }

    /// By this configuration.
    async fn run(program: &Path, config: String, port: u16, path_that_answers: &str) -> Self {
        let dir = fresh_dir("nginx");
        let path = dir.join("nginx.conf");
        fs::write(&path, config).expect("written");
        let log = dir.join("log");
        // nginx opens its access log, /dev/stdout, once more: each writes at the end.
        let output = File::options().append(true).create(true).open(&log);
        let output = output.expect("a log file");
        let globals = format!("daemon off; pid {};", dir.join("pid").display());
        let process = Process::start(
            Command::new(program)
                .arg("-p")
                .arg(&dir)
                .arg("-c")
                .arg(&path)
                .args(["-g", &globals])
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("a log file"))
                .stderr(output),
            Signal::Terminate,
        );
        let nginx = Self {
            port,
            log,
            _process: process,
        };
        eventually("nginx answers", || async {
            let status = nginx.api().status(path_that_answers).await;
            (status == Some(200)).then_some(())
        })
        .await;
        nginx
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn api(&self) -> Api {
        Api::new(&format!("http://127.0.0.1:{}", self.port))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- nginx on port {} wrote\n{}", self.port, self.log());
        }
    }
}
