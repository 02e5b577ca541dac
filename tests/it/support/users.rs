//! The rows of the host's users table that every test finds: all four roles, an inactive user, and names that
//! want escaping. Ordered by last name as they stand.

use tokio_postgres::Client;
use uuid::{Uuid, uuid};

/// The host's users table, with columns that are none of the service's business, as hosts have them.
const USERS_TABLE: &str = "
create table users (
    id uuid primary key default gen_random_uuid(),
    first_name text not null,
    last_name text not null,
    email text not null unique,
    password_hash text not null default 'secret',
    phone text,
    avatar_url text,
    role text not null default 'buyer',
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
";

pub const ALICE: Uuid = uuid!("a0000000-0000-4000-8000-000000000001");
pub const BORIS: Uuid = uuid!("a0000000-0000-4000-8000-000000000002");
pub const CARLA: Uuid = uuid!("a0000000-0000-4000-8000-000000000003");
pub const DAVID: Uuid = uuid!("a0000000-0000-4000-8000-000000000004");
pub const ELENA: Uuid = uuid!("a0000000-0000-4000-8000-000000000005");
pub const FELIX: Uuid = uuid!("a0000000-0000-4000-8000-000000000006");
pub const GRETA: Uuid = uuid!("a0000000-0000-4000-8000-000000000007");
pub const HENRI: Uuid = uuid!("a0000000-0000-4000-8000-000000000008");
pub const IRENE: Uuid = uuid!("a0000000-0000-4000-8000-000000000009");
pub const JONAS: Uuid = uuid!("a0000000-0000-4000-8000-00000000000a");
pub const KATIA: Uuid = uuid!("a0000000-0000-4000-8000-00000000000b");
pub const LIONEL: Uuid = uuid!("a0000000-0000-4000-8000-00000000000c");

/// No row has this id.
pub const NOBODY: Uuid = uuid!("dead0000-0000-4000-8000-00000000dead");

pub struct Person {
    pub id: Uuid,
    pub first_name: &'static str,
    pub last_name: &'static str,
    pub avatar_url: Option<&'static str>,
    pub role: &'static str,
    pub is_active: bool,
}

const fn person(
    id: Uuid,
    first_name: &'static str,
    last_name: &'static str,
    role: &'static str,
) -> Person {
    Person {
        id,
        first_name,
        last_name,
        avatar_url: Some("https://host.example/avatar.png"),
        role,
        is_active: true,
    }
}

/// In the order of the directory: last name, first name, id.
pub const PEOPLE: [Person; 12] = [
    person(ALICE, "Alice", "Archer", "buyer"),
    person(BORIS, "Boris", "Baker", "developer"),
    person(CARLA, "Carla", "Cooper", "broker"),
    person(DAVID, "David", "Dyer", "admin"),
    person(ELENA, "Elena", "Ebner", "buyer"),
    person(FELIX, "Felix", "Fisher", "developer"),
    person(GRETA, "Greta", "Glover", "broker"),
    person(HENRI, "Henri", "Hunter", "admin"),
    Person {
        is_active: false,
        ..person(IRENE, "Irene", "Ivers", "buyer")
    },
    Person {
        avatar_url: None,
        ..person(JONAS, "Jonas", "Joiner", "buyer")
    },
    person(KATIA, "Kátia", "Köhler", "developer"),
    person(LIONEL, "Lio\"nel\\", "L'Écuyer", "broker"),
];

/// The table, and the rows.
pub async fn create_users(client: &Client) {
    client.batch_execute(USERS_TABLE).await.expect("users");
    let insert = client
        .prepare(
            "insert into users (id, first_name, last_name, email, avatar_url, role, is_active)
             values ($1, $2, $3, $1::uuid || '@host.example', $4, $5, $6)",
        )
        .await
        .expect("an insert");
    for person in &PEOPLE {
        client
            .execute(
                &insert,
                &[
                    &person.id,
                    &person.first_name,
                    &person.last_name,
                    &person.avatar_url,
                    &person.role,
                    &person.is_active,
                ],
            )
            .await
            .expect("a user");
    }
}
