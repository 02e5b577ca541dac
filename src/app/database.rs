//! The database at the start: reaching it, applying the schema, demo rows.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::StartError;
use crate::config::{Config, ConfigError, DatabaseConfig, DatabaseSource, SslMode};
use crate::embedded::EmbeddedPostgres;
use crate::error::Error;
use crate::store::{
    Around, Connector, MigrateError, Migration, Obstacle, Purpose, SearchIndex, Session, Store,
    StoreLimits, UsersLink, UsersLinked, UsersTable, Way, check_ca_file, describe, quoted_name,
    quoted_text, roles,
};

/// Tables and rows that only the embedded database gets.
const EMBEDDED_USERS_TABLE: &str = include_str!("../../sql/demo/users_table.sql");
const DEMO_DATA: &str = include_str!("../../sql/demo/demo_data.sql");

/// Between two tries to reach the database at the start.
const START_RETRY: Duration = Duration::from_millis(500);

/// Reads the files that the connections to the database are checked by: what is wrong with one is told before anything starts.
pub fn check_ca_files(config: &Config) -> Result<(), ConfigError> {
    let database = match &config.database {
        DatabaseSource::External(database) => Some(database),
        DatabaseSource::Embedded { .. } => None,
    };
    for database in database.into_iter().chain(&config.listen_database) {
        check_ca_file(database)
            .map_err(|error| ConfigError::of_file("DB_SSL_ROOT_CERT", error.to_string()))?;
    }
    Ok(())
}

/// The host's users table, as configured.
fn users_table(config: &Config) -> UsersTable {
    UsersTable {
        name: config.users_table.clone(),
        columns: config.users_columns.clone(),
    }
}

/// The database of one process, and what keeps the embedded one running.
pub(super) struct Database {
    /// Connects as the role that may change the schema. On the embedded database that is another role than the service's, which owns nothing
    /// there (`sql/roles.sql`), and exists once the schema does.
    pub owner: Connector,
    pub connector: Connector,
    /// Connects past a pooler (`LISTEN_DATABASE_URL`), for all that needs a session of its own: LISTEN, advisory locks of a session, SET.
    pub direct: Connector,
    pub embedded: Option<EmbeddedPostgres>,
    /// Until when a database that does not answer is waited for at the start (`DB_CONNECT_TIMEOUT_SECONDS`).
    pub deadline: Instant,
    /// `Later` until a migration has done it.
    users_linked: UsersLinked,
}

impl Database {
    /// Starts the embedded database if it is to be used, and waits until the database answers, on each of the ways to it.
    pub async fn reach(config: &Config) -> Result<Self, StartError> {
        let (owner, database, embedded) = match &config.database {
            DatabaseSource::External(database) => (None, database.clone(), None),
            DatabaseSource::Embedded { data_dir, bin_dir } => {
                let embedded = EmbeddedPostgres::start(data_dir, bin_dir.as_deref())
                    .await
                    .map_err(StartError::because)?;
                let on_loopback = |postgres| DatabaseConfig {
                    postgres,
                    ssl_mode: SslMode::Disable,
                    ssl_root_cert: None,
                };
                let owner = on_loopback(embedded.database_config());
                let service = on_loopback(embedded.database_config_of(roles::SERVICE));
                (Some(owner), service, Some(embedded))
            }
        };
        let connector = Connector::new(&database).map_err(StartError::because)?;
        let direct = match &config.listen_database {
            Some(listen) => connector.beside(listen).map_err(StartError::because)?,
            None => connector.clone(),
        };
        let owner = match &owner {
            Some(owner) => Connector::new(owner).map_err(StartError::because)?,
            None => direct.clone(),
        };
        let deadline = Instant::now() + config.timeouts.database_start;
        match embedded {
            // Its service may not be there yet.
            Some(_) => until_reached(&owner, WayTo::Database, deadline).await?,
            None => until_reached(&connector, WayTo::Database, deadline).await?,
        }
        if config.listen_database.is_some() {
            until_reached(&direct, WayTo::Listener, deadline).await?;
        }
        Ok(Self {
            owner,
            connector,
            direct,
            embedded,
            deadline,
            users_linked: UsersLinked::Later,
        })
    }

    /// Applies the schema; a database that goes away meanwhile is waited for, as at the start.
    pub async fn migrate(&mut self, config: &Config, purpose: Purpose) -> Result<(), StartError> {
        let users = users_table(config);
        let roles = self.embedded.as_ref().map(|embedded| {
            let password = embedded.password_of(roles::SERVICE);
            let columns = config.users_columns.iter();
            let columns: Vec<&str> = columns.map(|(_, column)| column.as_str()).collect();
            let sql = roles::sql(&[
                ("schema", &config.schema),
                ("users_table", &config.users_table),
                ("users_columns", &columns.join(",")),
            ]);
            // Hexadecimal: nothing to escape.
            format!("{sql}alter role {} password '{password}'", roles::SERVICE)
        });
        let around = roles.as_ref().map(|roles| Around {
            before: EMBEDDED_USERS_TABLE,
            after: roles,
        });
        let migration = Migration {
            schema: &config.schema,
            users: &users,
            around,
            purpose,
        };
        loop {
            match migration.run(&self.owner).await {
                Err(error @ (MigrateError::Connect(_) | MigrateError::Interrupted(_)))
                    if self.again_after(&error).await => {}
                Err(error @ MigrateError::Diverged(_)) => {
                    return Err(StartError(format!(
                        "{error}{}",
                        advice_to_start_over(&config.database)
                    )));
                }
                Err(error) => return Err(StartError::because(error)),
                Ok(linked) => {
                    self.users_linked = linked;
                    return Ok(());
                }
            }
        }
    }

    /// Whether there is time for another try, which has come then.
    async fn again_after(&self, error: &impl fmt::Display) -> bool {
        let in_time = Instant::now() + START_RETRY < self.deadline;
        if in_time {
            log::warn!("{error}; trying again");
            tokio::time::sleep(START_RETRY).await;
        }
        in_time
    }

    /// Pools of connections to it; none is made yet.
    pub fn store(&self, config: &Config) -> Result<Store, StartError> {
        Store::new(
            &self.connector,
            &config.schema,
            StoreLimits::from(config),
            // Behind a pooler the listener needs a way of its own.
            match config.listen_database {
                None => Way::Direct,
                Some(_) => Way::Pooler,
            },
        )
        .map_err(StartError::because)
    }

    /// A misspelt language would leave every search waiting for an index that never comes. A database that lets no connection in
    /// meanwhile, or answers late, is waited for here as well.
    pub async fn require_search_language(
        &self,
        store: &Store,
        config: &Config,
    ) -> Result<(), StartError> {
        let Some(wanted) = &config.search_language else {
            return Ok(());
        };
        let languages = loop {
            match store.search_languages().await {
                Err(error @ Error::Unavailable { .. }) if self.again_after(&error).await => {}
                asked => {
                    break asked.map_err(|error| StartError(error.with_cause().to_string()))?;
                }
            }
        };
        if languages.contains(wanted) {
            return Ok(());
        }
        Err(StartError(format!(
            "SEARCH_LANGUAGE: the database has no text search configuration {wanted}; it has {}",
            languages.join(", ")
        )))
    }

    /// What keeps the users table linked while the service runs.
    pub fn users_link(&self, config: &Config, store: &Store) -> UsersLink {
        UsersLink::new(
            store.clone(),
            self.owner.clone(),
            config.schema.clone(),
            users_table(config),
            config.timeouts.users_table_check,
            self.users_linked,
        )
    }

    /// What builds the search index and keeps it tidy.
    pub fn search_index(&self, config: &Config) -> SearchIndex {
        SearchIndex {
            connector: self.owner.clone(),
            schema: config.schema.clone(),
            language: config.search_language.clone(),
        }
    }

    /// Demo users and conversations, as one batch; a second time changes nothing.
    pub async fn insert_demo_data(&self, config: &Config) -> Result<(), StartError> {
        let client = self.as_owner(config, "pgchat demo data").await?;
        let users = quoted_text(&config.users_table);
        let settings = format!("set pgchat.users_table = {users}");
        client.batch_execute(&settings).await.map_err(failed)?;
        client.batch_execute(DEMO_DATA).await.map_err(failed)
    }

    /// Whether anybody is in the embedded database's users table.
    pub async fn has_users(&self, config: &Config) -> Result<bool, StartError> {
        let client = self.as_owner(config, "pgchat start").await?;
        let any = "select exists (select from users)";
        let row = client.query_one(any, &[]).await.map_err(failed)?;
        row.try_get(0).map_err(failed)
    }

    /// A session that looks names up where the migrations make them, and nowhere else.
    async fn as_owner(
        &self,
        config: &Config,
        application_name: &str,
    ) -> Result<Session, StartError> {
        let connected = self.owner.session(application_name).await;
        let session = connected.map_err(StartError::because)?;
        let schema = quoted_name(&config.schema);
        let search_path = format!("set search_path = {schema}, pg_temp");
        session.batch_execute(&search_path).await.map_err(failed)?;
        Ok(session)
    }
}

/// Which settings say how to get there.
#[derive(Clone, Copy)]
enum WayTo {
    /// `DB_HOST` and the others, or `DATABASE_URL`.
    Database,
    /// `LISTEN_DATABASE_URL`.
    Listener,
}

/// Tries until `deadline`, and at least once.
async fn until_reached(
    connector: &Connector,
    way: WayTo,
    deadline: Instant,
) -> Result<(), StartError> {
    let patience = deadline.saturating_duration_since(Instant::now());
    let target = match way {
        WayTo::Database => connector.target(),
        WayTo::Listener => format!("{} (LISTEN_DATABASE_URL)", connector.target()),
    };
    let mut told = false;
    loop {
        let error = match connector.connect("pgchat start").await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if Instant::now() + START_RETRY >= deadline {
            let advice = advice(error.kind, way);
            return Err(StartError(format!(
                "cannot reach the database {target}: {error}{advice}"
            )));
        }
        if !told {
            let seconds = patience.as_secs_f64().round();
            log::warn!("database {target}: {error}; trying for {seconds} s");
            told = true;
        }
        tokio::time::sleep(START_RETRY).await;
    }
}

fn failed(error: tokio_postgres::Error) -> StartError {
    StartError(describe(&error))
}

/// What to do with a database that another state of the same version has made.
fn advice_to_start_over(database: &DatabaseSource) -> String {
    let elsewhere = match database {
        DatabaseSource::Embedded { data_dir, .. } => format!(
            "to start anew, remove {} or name another directory in EMBEDDED_DATA_DIR",
            data_dir.display()
        ),
        DatabaseSource::External(_) => {
            "to start anew, set another DB_SCHEMA or another database".to_owned()
        }
    };
    format!("; {elsewhere}; to keep what is in it, go on with the build that made it")
}

/// Which settings to look at.
fn advice(obstacle: Obstacle, way: WayTo) -> String {
    let settings = match obstacle {
        Obstacle::Credentials => "are DB_USER and DB_PASSWORD, or those of DATABASE_URL, right?",
        Obstacle::NoDatabase => "create it, or set DB_NAME",
        Obstacle::ReadOnly => {
            return "; it is a standby, or default_transaction_read_only is set for it or for the role: the service needs the one that \
                    accepts writes"
                .to_owned();
        }
        Obstacle::Tls => "are DB_SSL_MODE and DB_SSL_ROOT_CERT, or those of DATABASE_URL, right?",
        Obstacle::Unreachable => {
            "does PostgreSQL run there, and are DB_HOST and DB_PORT, or those of DATABASE_URL, right?"
        }
        Obstacle::Other => return String::new(),
    };
    match way {
        WayTo::Database => format!("; {settings}"),
        WayTo::Listener => "; is that setting right?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_database_that_cannot_be_reached_says_which_settings_to_look_at() {
        for (obstacle, settings) in [
            (Obstacle::Credentials, "DB_PASSWORD"),
            (Obstacle::NoDatabase, "DB_NAME"),
            (
                Obstacle::Unreachable,
                "DB_HOST and DB_PORT, or those of DATABASE_URL",
            ),
            (Obstacle::Tls, "DB_SSL_MODE"),
            (Obstacle::ReadOnly, "default_transaction_read_only"),
        ] {
            let advice = advice(obstacle, WayTo::Database);
            assert!(advice.contains(settings), "{obstacle:?}: {advice}");
        }
        assert_eq!(advice(Obstacle::Other, WayTo::Database), "");
    }

    /// Not so long again: whoever waits for the start was told once for how long.
    #[tokio::test]
    async fn a_database_that_goes_away_is_waited_for_no_longer_than_one_that_was_never_there() {
        let broken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = broken.local_addr().unwrap().port().to_string();
        let vars = [("DB_HOST", "127.0.0.1"), ("DB_PORT", port.as_str())];
        let config = Config::from_vars(&vars).unwrap();
        let DatabaseSource::External(database) = &config.database else {
            panic!("DB_HOST is set");
        };
        let connector = Connector::new(database).unwrap();
        let mut database = Database {
            owner: connector.clone(),
            connector: connector.clone(),
            direct: connector,
            embedded: None,
            deadline: Instant::now(),
            users_linked: UsersLinked::Later,
        };
        let mut tries = 0;
        let answering = async {
            loop {
                drop(broken.accept().await);
                tries += 1;
            }
        };
        let ended = tokio::select! {
            () = answering => unreachable!(),
            ended = database.migrate(&config, Purpose::Migrate) => ended,
        };
        assert!(ended.is_err());
        assert_eq!(tries, 1);
    }
}
