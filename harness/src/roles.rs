//! The service as it is recommended: it owns nothing, and touches no table (`sql/roles.sql`).

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::cluster::Cluster;

/// Whom replicas connect as.
pub const SERVICE: &str = "pgchat_service";
/// Owns the chat tables: who migrates. No superuser.
pub const OWNER: &str = "pgchat_owner";
/// What other programs may do.
pub const INTEGRATOR: &str = "pgchat_integrator";

const ROLES: &str = include_str!("../../sql/roles.sql");

/// Makes the roles and the schema in a database that has its users table, with the steps that the README tells hosts to
/// take. `cwd` has no `config.env`.
pub async fn install(
    cluster: &Cluster,
    database: &str,
    program: &Path,
    cwd: &Path,
) -> Result<(), Failure> {
    let roles = sql(&[]);
    let client = cluster.connect_to(database).await?;
    client.batch_execute(&roles).await?;
    let mut migrate = Command::new(program);
    migrate
        .arg("migrate")
        .env_clear()
        .env("DB_HOST", cluster.addr.ip().to_string())
        .env("DB_PORT", cluster.addr.port().to_string())
        .env("DB_USER", OWNER)
        .env("DB_NAME", database)
        .env("DB_SSL_MODE", "disable")
        .current_dir(cwd)
        .stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || migrate.output()).await??;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(format!("pgchat migrate: {}\n{said}", ended.status).into());
    }
    client.batch_execute(&roles).await?;
    Ok(())
}

/// `sql/roles.sql` as `psql` runs it with these variables besides the file's defaults, without what only `psql` understands.
pub fn sql(variables: &[(&str, &str)]) -> String {
    let sql: String = ROLES
        .lines()
        .filter(|line| !line.starts_with('\\'))
        .flat_map(|line| [line, "\n"])
        .collect();
    let defaults = ROLES
        .lines()
        .filter_map(|line| line.strip_prefix("\\set ")?.split_once(' '));
    defaults.fold(sql, |sql, (name, default)| {
        let given = variables.iter().find(|(given, _)| *given == name);
        let value = given.map_or(default.trim_matches('\''), |(_, value)| value);
        sql.replace(&format!(":'{name}'"), &format!("'{value}'"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_only_psql_understands() {
        let sql = sql(&[("users_table", "crm.people")]);
        assert!(sql.contains(&format!("set_config('pgchat.owner', '{OWNER}', true)")));
        assert!(sql.contains(&format!("set_config('pgchat.service', '{SERVICE}', true)")));
        assert!(sql.contains("set_config('pgchat.users_columns', '', true)"));
        assert!(sql.contains("set_config('pgchat.users_table', 'crm.people', true)"));
        assert!(!sql.contains(":'") && !sql.contains("\n\\"), "{sql}");
    }
}
