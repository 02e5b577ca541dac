//! TLS to PostgreSQL: each mode against a server with the right certificate, with one for another name, with one of
//! another authority, and without any; for the pool and for the listener.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::support::*;

/// A certificate authority, and the file that a client knows it by.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = fresh_dir("authority").join("ca.pem");
        std::fs::write(&file, certificate.pem()).expect("written");
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    fn path(&self) -> &str {
        self.file.to_str().expect("a path in UTF-8")
    }

    /// Has the server present a certificate of this authority for `localhost`, and not for 127.0.0.1.
    fn certify(&self, cluster: &Cluster) {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(["localhost".to_owned()])
            .and_then(|params| params.signed_by(&key, &self.issuer))
            .expect("a certificate");
        cluster.certify(&certificate.pem(), &key.serialize_pem());
    }
}

/// A server that offers TLS, a database in it, and whose certificate it presents.
struct Stage {
    cluster: Arc<Cluster>,
    database: Database,
    ours: Authority,
    strangers: Authority,
}

impl Stage {
    async fn set() -> Self {
        let (ours, strangers) = (Authority::new("ours"), Authority::new("a stranger's"));
        let cluster = Cluster::private();
        let database = Database::fresh_on(&cluster).await;
        cluster.stop();
        ours.certify(&cluster);
        cluster.start();
        Self {
            cluster,
            database,
            ours,
            strangers,
        }
    }

    /// Sessions of pgchat by their purpose, and whether they are encrypted.
    async fn sessions(&self) -> Vec<(String, bool)> {
        let sql = "select distinct a.application_name, s.ssl
                     from pg_stat_activity a join pg_stat_ssl s using (pid)
                    where a.application_name in ('pgchat pool', 'pgchat listener')
                    order by 1";
        let rows = self.database.sql().await.query(sql, &[]).await;
        rows.expect("sessions")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect()
    }

    /// These and no others; those of a replica that was ended may be there for a moment longer.
    async fn until_sessions(&self, expected: &[(&str, bool)], case: &str) {
        eventually(&format!("{case}: {expected:?}"), || async {
            let sessions = self.sessions().await;
            let sessions = sessions.iter().map(|(of, ssl)| (of.as_str(), *ssl));
            sessions.eq(expected.iter().copied()).then_some(())
        })
        .await;
    }
}

/// What a mode makes of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Encrypted,
    Plain,
    /// With these words in the one line that is left.
    Refused(&'static str),
}
use Expected::{Encrypted, Plain, Refused};

const UNKNOWN: Expected = Refused("UnknownIssuer");
const WRONG_NAME: Expected = Refused("not valid for name");
const NO_TLS: Expected = Refused("server does not support TLS");

#[rustfmt::skip]
const MODES: [(&str, [Expected; 5]); 5] = [
    // the right authority and name; the right authority, another name; another authority; no authority named; no TLS
    ("disable",     [Plain,     Plain,      Plain,     Plain,     Plain]),
    ("prefer",      [Encrypted, Encrypted,  Encrypted, Encrypted, Plain]),
    ("require",     [Encrypted, Encrypted,  Encrypted, Encrypted, NO_TLS]),
    ("verify-ca",   [Encrypted, Encrypted,  UNKNOWN,   Refused("DB_SSL_ROOT_CERT"), NO_TLS]),
    ("verify-full", [Encrypted, WRONG_NAME, UNKNOWN,   UNKNOWN,   NO_TLS]),
];

#[tokio::test]
async fn each_mode_takes_the_servers_that_it_should_and_no_others() {
    let stage = Stage::set().await;
    let without = Database::fresh().await;
    let (ours, strangers) = (stage.ours.path(), stage.strangers.path());
    let servers = [
        (&stage.database, "localhost", Some(ours)),
        (&stage.database, "127.0.0.1", Some(ours)),
        (&stage.database, "localhost", Some(strangers)),
        (&stage.database, "localhost", None),
        (&without, "localhost", Some(ours)),
    ];
    for (mode, expected) in MODES {
        for ((database, host, authority), expected) in servers.into_iter().zip(expected) {
            let case = format!("{mode}, {host}, {authority:?}: {expected:?}");
            let mut more = vec![
                ("DB_SSL_MODE", mode),
                ("DB_HOST", host),
                ("DB_CONNECT_TIMEOUT_SECONDS", "0"),
            ];
            // Where nothing is checked, naming one is an error: it would have no effect.
            let named = authority.filter(|_| mode.starts_with("verify"));
            more.extend(named.map(|path| ("DB_SSL_ROOT_CERT", path)));
            if let Refused(words) = expected {
                let outcome = pgchat(&["serve"], &settings(database, &more)).await;
                assert!(matches!(outcome.code, Some(1 | 2)), "{case}: {outcome:#?}");
                assert!(outcome.last_line().contains(words), "{case}: {outcome:#?}");
                continue;
            }
            let replica = Replica::start(database, &more).await;
            replica.api().open_conversation(ALICE, BORIS).await;
            if database.name == without.name {
                continue;
            }
            let encrypted = expected == Encrypted;
            let expected = [("pgchat listener", encrypted), ("pgchat pool", encrypted)];
            stage.until_sessions(&expected, &case).await;
        }
    }
}

#[tokio::test]
async fn the_listener_has_a_mode_of_its_own() {
    let stage = Stage::set().await;
    let url = |host: &str, mode: &str| {
        let (port, name) = (stage.cluster.port, &stage.database.name);
        format!("postgres://{SERVICE}@{host}:{port}/{name}?sslmode={mode}")
    };
    let pool = [
        ("DB_SSL_MODE", "verify-full"),
        ("DB_HOST", "localhost"),
        ("DB_SSL_ROOT_CERT", stage.ours.path()),
        ("DB_CONNECT_TIMEOUT_SECONDS", "5"),
    ];
    let with = |url: &str| -> Vec<(String, String)> {
        let listener = [("LISTEN_DATABASE_URL", url)];
        let all = pool.iter().chain(&listener);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    fn borrowed(all: &[(String, String)]) -> Vec<(&str, &str)> {
        all.iter()
            .map(|(name, value)| (&**name, &**value))
            .collect()
    }
    let plain = with(&url("127.0.0.1", "disable"));
    {
        let _replica = Replica::start(&stage.database, &borrowed(&plain)).await;
        let expected = [("pgchat listener", false), ("pgchat pool", true)];
        stage.until_sessions(&expected, "a mode of its own").await;
    }
    // The pool's server is the right one; what the listener reaches calls itself otherwise.
    let wrong_name = with(&url("127.0.0.1", "verify-full"));
    let outcome = pgchat(
        &["serve"],
        &settings(&stage.database, &borrowed(&wrong_name)),
    )
    .await;
    outcome.assert_failed(1, &["not valid for name"]);
}

/// As a Secret's volume does it, or a provider who publishes a new authority before the server presents its certificate.
#[tokio::test]
async fn a_new_authority_needs_no_restart_and_an_unusable_file_changes_nothing() {
    let stage = Stage::set().await;
    let more = [
        ("DB_SSL_MODE", "verify-full"),
        ("DB_HOST", "localhost"),
        ("DB_SSL_ROOT_CERT", stage.ours.path()),
        ("LISTENER_HEARTBEAT_SECONDS", "1"),
    ];
    let replica = Replica::start(&stage.database, &more).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let secure = [("pgchat listener", true), ("pgchat pool", true)];
    // All connections are made anew.
    let end_all = async || {
        stage
            .database
            .execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pgchat%'")
            .await;
    };
    let stores = async |content: &str| {
        eventually("a message is stored", || async {
            let sent = replica.api().try_send(conversation, ALICE, content).await;
            (sent.status == 201).then_some(())
        })
        .await;
    };
    std::fs::write(&stage.ours.file, "no certificate").expect("written");
    end_all().await;
    stores("as before").await;
    stage.until_sessions(&secure, "by the file as it was").await;
    eventually("the log says so", || async {
        let said = "new connections go on with the certificates that it held before";
        replica.log().contains(said).then_some(())
    })
    .await;

    std::fs::copy(&stage.strangers.file, &stage.ours.file).expect("written");
    stage.strangers.certify(&stage.cluster);
    stage.database.execute("select pg_reload_conf()").await;
    // Until then the server presents the former one.
    eventually("the server presents the new certificate", || async {
        end_all().await;
        replica
            .log()
            .contains("has changed and is used")
            .then_some(())
    })
    .await;
    stores("to the new one").await;
    stage.until_sessions(&secure, "by the new authority").await;
}

#[tokio::test]
async fn a_certificate_of_a_stranger_ends_the_service_until_the_right_one_is_back() {
    let stage = Stage::set().await;
    let more = [
        ("DB_SSL_MODE", "verify-full"),
        ("DB_HOST", "localhost"),
        ("DB_SSL_ROOT_CERT", stage.ours.path()),
        ("LISTENER_HEARTBEAT_SECONDS", "1"),
    ];
    let replica = Replica::start(&stage.database, &more).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let present = async |authority: &Authority| {
        authority.certify(&stage.cluster);
        stage
            .database
            .execute(
                "select pg_reload_conf();
                 select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pgchat%'",
            )
            .await;
    };
    present(&stage.strangers).await;
    eventually("neither pool nor listener talks to a stranger", || async {
        // Connections that were made before the server had read its file anew are ended as well.
        stage
            .database
            .execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pgchat%'")
            .await;
        let health = api.get("/health").await;
        let checks = health.json()["checks"].clone();
        (health.status == 503 && checks["database"] != "ok" && checks["listener"] != "ok")
            .then_some(())
    })
    .await;
    stage.until_sessions(&[], "with a stranger").await;
    assert_eq!(
        api.try_send(conversation, ALICE, "to a stranger")
            .await
            .status,
        503
    );
    assert!(replica.log().contains("UnknownIssuer"));

    present(&stage.ours).await;
    until_healthy(&replica).await;
    let sent = api.send(conversation, ALICE, "to ours").await;
    assert_eq!(sent["content"], "to ours");
    let secure = [("pgchat listener", true), ("pgchat pool", true)];
    stage.until_sessions(&secure, "with ours").await;
}
