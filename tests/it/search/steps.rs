//! A search widens the time that it looks at step by step, and tries all of it for what is rare. Whichever way it goes, it finds
//! what a plain query over the whole table finds.

use tokio_postgres::Client;
use uuid::Uuid;

use super::Scene;
use crate::support::*;

/// 8,000 messages of Alice's with Boris and Carla over two years, most of them with Boris, more and more of them towards the end. Some
/// words are in all, in many or in few of them, some only in old ones, or only in the newest. Each three have one time, and every
/// hundredth is deleted.
const HISTORY: &str = "
set session_replication_role = replica;
insert into messages (conversation_id, sender_id, reader_id, content, seq, created_at, updated_at, deleted_at)
select case when n % 5 = 0 then '{with_carla}'::uuid else '{with_boris}' end,
       case when n % 2 = 0 then '{alice}'::uuid when n % 5 = 0 then '{carla}' else '{boris}' end,
       case when n % 2 = 1 then '{alice}'::uuid when n % 5 = 0 then '{carla}' else '{boris}' end,
       case when n % 100 = 50 then '' else n || ' always' || repeat(' often', n % 3) || case when n % 40 = 1 then ' seldom' else '' end
         || case when n in (70, 4000, 7990) then ' rare' else '' end
         || case when n < 2000 then ' formerly' when n < 2050 then ' before' else '' end
         || case when n > 7800 then ' lately' else '' end end,
       n, at, at, case when n % 100 = 50 then at end
  from (select n, now() - interval '730 days' * (1 - sqrt((n - n % 3) / 8000.0)) as at from generate_series(1, 8000) n) n;
update conversations c set last_seq = l.seq, last_message_id = l.id, updated_at = l.created_at, active_at = l.created_at
  from (select distinct on (conversation_id) * from messages order by conversation_id, seq desc) l
 where l.conversation_id = c.id;
set session_replication_role = origin;
analyze messages, conversations";

/// Blocks of a hundred of the newest, each by rank.
const PLAIN: &str = "
with found as (
  select m.content, m.created_at, m.id, ts_rank(to_tsvector('simple', m.content), q) as rank,
         row_number() over (order by m.created_at desc, m.id desc) - 1 as place
    from messages m, websearch_to_tsquery('simple', $1) q
   where to_tsvector('simple', m.content) @@ q and $2 in (m.sender_id, m.reader_id) and m.deleted_at is null
     and ($3::uuid is null or m.conversation_id = $3))
select content from (select * from found where place < 100 * (($4::bigint + $5::bigint + 99) / 100)) f
 order by place / 100, rank desc, created_at desc, id desc limit $5::bigint offset $4::bigint";

/// What Alice looks for, as she asks for it over HTTP and as a plain query does.
pub(super) struct Asked<'a> {
    pub words: &'a str,
    pub conversation: Option<Uuid>,
    pub offset: i64,
    pub limit: i64,
}

impl Asked<'_> {
    /// Asserts that the API finds what a plain query finds. Whether that is anything.
    pub async fn is_found_as_plainly(&self, api: &Api, client: &Client) -> bool {
        let Self {
            words,
            conversation,
            offset,
            limit,
        } = self;
        let within = conversation.map(|id| format!("&conversation_id={id}"));
        let query = format!(
            "q={}&offset={offset}&limit={limit}{}",
            words.replace(' ', "+"),
            within.unwrap_or_default()
        );
        let found = api.found(ALICE, &query).await;

        // One row more is asked for than is shown, and counts for the blocks.
        let plain = client
            .query(PLAIN, &[words, &ALICE, conversation, offset, &(limit + 1)])
            .await
            .expect("a plain query");
        let plain = plain.iter().map(|row| row.get(0));
        let plain: Vec<String> = plain.take(*limit as usize).collect();
        assert_eq!(found, plain, "{query}");
        !found.is_empty()
    }
}

#[tokio::test]
async fn whichever_way_a_search_goes_it_finds_what_a_plain_query_finds() {
    let scene = Scene::set().await;
    let mut history = HISTORY.to_owned();
    for (name, id) in [
        ("{with_boris}", scene.with_boris),
        ("{with_carla}", scene.with_carla),
        ("{alice}", ALICE),
        ("{boris}", BORIS),
        ("{carla}", CARLA),
    ] {
        history = history.replace(name, &id.to_string());
    }
    scene.database.execute(&history).await;
    let client = scene.database.sql().await;
    let api = scene.here();
    let mut found_something = 0;
    for words in [
        "always",
        "often",
        "seldom",
        "rare",
        "formerly",
        "before",
        "lately",
        "nowhere",
        "-often",
        "-always",
        "-seldom",
        "-often -seldom",
        "rare or -often",
        "-\"often seldom\"",
        // Not not.
        "--seldom",
        "rare or --seldom",
        "--always",
        "--nowhere -often",
        "seldom formerly",
        "rare or before",
    ] {
        let places: [Option<Uuid>; 3] = [None, Some(scene.with_boris), Some(scene.with_carla)];
        for conversation in places {
            for (offset, limit) in [(0, 20), (90, 200), (450, 50)] {
                let asked = Asked {
                    words,
                    conversation,
                    offset,
                    limit,
                };
                let found = asked.is_found_as_plainly(&api, &client).await;
                found_something += usize::from(found);
            }
        }
    }
    assert!(found_something > 50, "{found_something}");
}
