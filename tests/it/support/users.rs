//! The rows of the host's users table that every test finds: all four roles, an inactive user, and names that
//! want escaping. Ordered by last name as they stand.

use uuid::{Uuid, uuid};

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
