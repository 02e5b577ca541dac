//! The keys by which the index knows whose a message is, and of which time.

use crate::support::*;

/// Whatever time a message has, it has the keys that a search of that time asks for, and none of another day or span: were days below
/// zero, that in 1941 would be the span of 2000-01-01.
#[tokio::test]
async fn a_message_has_the_keys_of_its_day_its_span_and_of_all_time() {
    let database = Database::fresh().await;
    let client = database.sql().await;
    let days = "select at, chat_search_day(at) as day, chat_search_keys(a, b, c, at) as keys, a, b, c
          from unnest(array['-infinity', '4713-01-01 BC', '1941-10-27Z', '1945-04-15Z', '1969-12-31 23:59:59.999999Z', '1970-01-01Z', '1999-12-31Z',
                            '2000-01-01Z', '2026-11-27 23:59:59.999999Z', '2026-11-28Z', '294276-12-31Z', 'infinity']::timestamptz[]) at,
               (select md5('a')::uuid as a, md5('b')::uuid as b, md5('c')::uuid as c) ids";
    let wrong = format!(
        "with m as ({days}), scopes as (
           select m.*, s.* from m, lateral (values
             ('own day', a, 'd', at, true), ('own day', b, 'd', at, true), ('own span', a, 's', at, true),
             ('own span', b, 's', at, true), ('own span', c, 's', at, true), ('ever', a, 'a', at, true),
             ('ever', b, 'a', at, true), ('ever', c, 'a', at, true), ('a stranger', md5('d')::uuid, 'a', at, false)) s (what, owner, unit, asked, has))
         select what, at::text from scopes where (keys && chat_search_scope(owner, asked, unit, 0)) <> has
         union all
         select 'another day', m.at::text from m, m o where m.day <> o.day and m.keys && chat_search_scope(m.a, o.at, 'd', 0)
         union all
         select 'another span', m.at::text from m, m o
          where m.day / 16 <> o.day / 16 and m.keys && chat_search_scope(m.a, o.at, 's', 0)
         union all
         select 'the day before', m.at::text from m where day > 16 and isfinite(at)
            and not m.keys && chat_search_scope(m.a, m.at + interval '1 day', 'd', 1) and m.at < '294276-12-01'"
    );
    for zone in ["UTC", "Asia/Kolkata", "America/St_Johns"] {
        let set = format!("set timezone = '{zone}'");
        client.batch_execute(&set).await.expect("a setting");
        let rows = client.query(&wrong, &[]).await.expect("an answer");
        let wrong: Vec<(String, String)> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
        assert!(wrong.is_empty(), "{zone}: {wrong:?}");
    }
}
