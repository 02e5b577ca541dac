//! What is in a database and who owns it, as its catalog says. Nothing is prepared: the question may come through a pooler.

use postgres_types::Type;
use tokio_postgres::{Client, Error};

use crate::store::quoted_name;

/// Whether an expression such as `to_regclass('messages')` is not null.
pub(super) async fn has(client: &Client, expression: &str) -> Result<bool, Error> {
    is_true(client, &format!("select {expression} is not null")).await
}

/// What a query for one boolean returns.
pub(super) async fn is_true(client: &Client, sql: &str) -> Result<bool, Error> {
    client.query_typed_one(sql, &[]).await?.try_get(0)
}

/// The role that owns the chat tables.
struct Owner {
    name: String,
    /// The session has a share in that role; a superuser has one in every role.
    is_shared: bool,
    is_session: bool,
}

/// The owner of a schema that is there, where this session has no share in that role: it may use what is there
/// (`sql/roles.sql`), not change it.
pub(super) async fn other_owner(client: &Client, schema: &str) -> Result<Option<String>, Error> {
    let owner = owner(client, schema).await?;
    Ok(owner
        .filter(|owner| !owner.is_shared)
        .map(|owner| owner.name))
}

/// Goes on with the rights of the role that owns the chat tables, where this session has a share in it. Otherwise what is added would be this
/// one's, out of reach for the functions that are there, and new functions would run with its rights. Returns that role, where it is another
/// one than the session's.
pub(super) async fn become_owner(client: &Client, schema: &str) -> Result<Option<String>, Error> {
    let owner = owner(client, schema).await?;
    let Some(Owner { name, .. }) = owner.filter(|owner| owner.is_shared && !owner.is_session)
    else {
        return Ok(None);
    };
    let become_it = format!("set role {}", quoted_name(&name));
    client.batch_execute(&become_it).await?;
    Ok(Some(name))
}

/// `None`: there are no chat tables in this schema.
async fn owner(client: &Client, schema: &str) -> Result<Option<Owner>, Error> {
    let sql = "select pg_get_userbyid(c.relowner)::text, pg_has_role(c.relowner, 'usage'), pg_get_userbyid(c.relowner) = current_user
                 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = $1 and c.relname = 'chat_schema_history'";
    let found = client
        .query_typed_opt(sql, &[(&schema, Type::TEXT)])
        .await?;
    let owner = found.map(|row| {
        Ok(Owner {
            name: row.try_get(0)?,
            is_shared: row.try_get(1)?,
            is_session: row.try_get(2)?,
        })
    });
    owner.transpose()
}
