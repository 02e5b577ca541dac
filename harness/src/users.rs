//! The host system's table of users.

use tokio_postgres::Client;
use uuid::Uuid;

use crate::Failure;

/// Makes it, with so many rows, as the service finds it.
pub async fn make(client: &Client, count: usize) -> Result<Vec<Uuid>, Failure> {
    client
        .batch_execute(
            "create table users (
                 id uuid primary key default gen_random_uuid(),
                 first_name text not null,
                 last_name text not null,
                 avatar_url text,
                 role text not null default 'buyer',
                 is_active boolean not null default true
             )",
        )
        .await?;
    let rows = client
        .query(
            "insert into users (first_name, last_name)
             select 'User', number::text from generate_series(1, $1::int) as number
             returning id",
            &[&i32::try_from(count)?],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
