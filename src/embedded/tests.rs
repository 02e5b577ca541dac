//! The promises about processes, with real ones: this test binary is also the replica and the watchdog.
//! PostgreSQL is the one that PG_BIN_DIR names, else the one that is found.

mod site;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[cfg(target_os = "linux")]
use site::process_group;
use site::{Replica, Site, am_root, attach, kill, until};

#[test]
fn replicas_share_a_database_that_ends_with_the_last_of_them() {
    let site = Site::new();
    let first = site.replica();
    first.run("create table kept (n int)").unwrap();
    let second = site.replica();
    assert_eq!(first.url, second.url);
    let postmaster = site.postmaster();
    // Ctrl-C in a replica's terminal is none for it.
    #[cfg(target_os = "linux")]
    assert_eq!(process_group(site.watchdog()), site.watchdog());

    first.kill();
    second.run("insert into kept values (1)").unwrap();
    assert_eq!(site.postmaster(), postmaster);

    second.kill();
    site.wait_for_the_end();

    // The next one finds the data, the port and the password as they were.
    let third = site.replica();
    third.run("insert into kept values (2)").unwrap();
    third.leave();
}

#[test]
fn replicas_may_start_together() {
    let site = Site::new();
    let replicas: Vec<Replica> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| site.replica())).collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    for replica in &replicas {
        replica.run("select 1").unwrap();
        assert_eq!(replica.url, replicas[0].url);
    }
}

#[test]
fn a_killed_postgres_comes_back_and_a_killed_watchdog_is_succeeded() {
    let site = Site::new();
    let first = site.replica();
    first.run("create table kept (n int)").unwrap();

    let postmaster = site.postmaster();
    kill(postmaster);
    until("PostgreSQL is back on its port, with its data", || {
        first.run("insert into kept values (1)").is_ok() && site.postmaster() != postmaster
    });

    let (postmaster, watchdog) = (site.postmaster(), site.watchdog());
    kill(watchdog);
    first.run("insert into kept values (2)").unwrap();
    let second = site.replica();
    second.run("insert into kept values (3)").unwrap();
    until("another watchdog looks after the same PostgreSQL", || {
        site.watchdog() != watchdog && site.layout().watchdog_runs().unwrap()
    });
    assert_eq!(site.postmaster(), postmaster);

    first.kill();
    second.leave();
    site.wait_for_the_end();
}

/// A directory stands where it makes the file: as on a full disk, nothing can be written.
#[test]
fn a_watchdog_that_cannot_write_looks_after_postgres_and_publishes_it_once_it_can() {
    let site = Site::new();
    let first = site.replica();
    let (postmaster, watchdog) = (site.postmaster(), site.watchdog());
    let obstacle = site.layout().ready().with_extension("new");
    fs::create_dir(&obstacle).unwrap();
    kill(postmaster);
    until("the watchdog says what it cannot write", || {
        site.log().contains("ready.new")
    });
    first.run("select 1").unwrap();
    fs::remove_dir(&obstacle).unwrap();
    let second = site.replica();
    assert_eq!(
        (first.url.as_str(), watchdog),
        (second.url.as_str(), site.watchdog())
    );
    first.kill();
    second.leave();
}

#[test]
fn postgres_runs_as_oneself_or_for_root_as_another_account() {
    let site = Site::new();
    let replica = site.replica();
    let cluster = fs::metadata(site.layout().cluster()).unwrap();
    let own = fs::metadata(site.data_dir()).unwrap().uid();
    assert_eq!(cluster.uid() == own, !am_root());
    let password = fs::metadata(site.layout().password()).unwrap();
    assert_eq!((password.uid(), password.mode() & 0o777), (own, 0o600));
    replica.leave();
}

#[test]
fn an_ordinary_user_needs_no_root() {
    if !am_root() {
        return; // Every other test shows it.
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    assert!(passwd.contains(":65534:"), "no account to try it with");
    let site = Site::owned_by(Some(65534));
    let replica = site.replica();
    replica.run("select 1").unwrap();
    let cluster = fs::metadata(site.layout().cluster()).unwrap();
    assert_eq!(cluster.uid(), 65534);
    replica.leave();
}

#[test]
fn a_cluster_of_another_major_version_is_refused_in_one_line() {
    let site = Site::new();
    let layout = site.layout();
    layout.create().unwrap();
    fs::create_dir(layout.cluster()).unwrap();
    fs::write(layout.cluster().join("PG_VERSION"), "9\n").unwrap();
    fs::write(layout.password(), "x").unwrap();
    let line = attach(&site.data_dir()).unwrap_err().to_string();
    assert!(line.contains("made by PostgreSQL 9, but"), "{line}");
    assert!(
        line.contains("EMBEDDED_DATA_DIR") && !line.contains('\n'),
        "{line}"
    );
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let site = Site::new();
    let layout = site.layout();
    fs::create_dir_all(layout.cluster()).unwrap();
    fs::write(layout.cluster().join("thesis.tex"), "precious").unwrap();
    let line = attach(&site.data_dir()).unwrap_err().to_string();
    assert!(line.contains("no PostgreSQL data directory"), "{line}");
    let left = fs::read_dir(site.data_dir()).unwrap();
    assert_eq!(left.count(), 1);
}

#[test]
fn a_directory_that_postgres_cannot_enter_is_named_and_nothing_is_left_there() {
    if !am_root() {
        return; // Only root runs PostgreSQL as somebody else.
    }
    let site = Site::new();
    fs::set_permissions(&site.directory, fs::Permissions::from_mode(0o700)).unwrap();
    let line = attach(&site.data_dir()).unwrap_err().to_string();
    assert!(line.contains("may not enter there"), "{line}");
    assert!(
        line.contains(&site.data_dir().display().to_string()),
        "{line}"
    );
    assert!(!site.data_dir().exists());
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let site = Site::new();
    site.replica().leave();
    site.wait_for_the_end();
    let settings = site.layout().cluster().join("postgresql.conf");
    let broken = fs::read_to_string(&settings).unwrap() + "\nshared_buffers = 'plenty'\n";
    fs::write(&settings, broken).unwrap();
    let line = attach(&site.data_dir()).unwrap_err().to_string();
    assert!(line.contains("ended 6 times in a row"), "{line}");
    assert!(
        line.contains("postgres.log") && !line.contains('\n'),
        "{line}"
    );
}
