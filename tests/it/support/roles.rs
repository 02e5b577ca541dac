//! The roles of `sql/roles.sql`, by which hosts make them too.

use std::sync::Arc;

pub use pgchat_harness::roles::{INTEGRATOR, OWNER, SERVICE, sql as roles_sql};

use super::cluster::Cluster;
use super::database::Database;

/// The roles, before any database is made that belongs to one.
pub async fn create(cluster: Arc<Cluster>) -> Result<(), String> {
    cluster
        .try_connect("postgres", "postgres")
        .await
        .map_err(|fault| format!("{fault:?}"))?
        .batch_execute(&roles_sql(&[]))
        .await
        .map_err(|fault| format!("sql/roles.sql: {fault:?}"))
}

impl Database {
    /// Runs `sql/roles.sql`, as `psql` does it with these variables besides the defaults.
    pub async fn make_roles(&self, variables: &[(&str, &str)]) {
        self.execute(&roles_sql(variables)).await;
    }

    /// Runs `sql/roles.sql` by the real `psql`.
    pub async fn make_roles_by_psql(&self, variables: &[(&str, &str)]) {
        let set: Vec<String> = variables
            .iter()
            .map(|(name, value)| format!("--set={name}={value}"))
            .collect();
        let file = concat!("--file=", env!("CARGO_MANIFEST_DIR"), "/sql/roles.sql");
        let arguments: Vec<&str> = set.iter().map(String::as_str).chain([file]).collect();
        self.psql_with(&arguments);
    }

    /// A role of the test's own, which may log in; it goes when the database does.
    pub async fn role(&self, kind: &str) -> String {
        let role = format!("{kind}_{}", self.name);
        let create = format!("create role {role} login password 'app'");
        self.execute(&create).await;
        role
    }
}

/// For after the end of a database, where nothing is left that they own or may use.
pub fn drop_all_of(database: &str) -> String {
    let pattern = format!("%_{database}").replace('_', "\\_");
    format!(
        "do $$ declare role name;
         begin
           for role in select rolname from pg_roles where rolname like '{pattern}' loop
             execute format('drop role %I', role);
           end loop;
         end $$"
    )
}
