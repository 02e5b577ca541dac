//! Whether pgchat's own triggers are switched on. `pg_restore --disable-triggers` that was interrupted leaves them off, and so may
//! somebody's repair: then rows are stored that nobody is told of, and that have no numbers.

use std::sync::{Arc, Mutex};

use postgres_types::Type;

use crate::error::Error;
use crate::store::Store;
use crate::store::rows::single;
use crate::sync::lock;

/// All of them. By their names, since the host may have triggers on these tables that are called `chat_…` as well, and off on purpose.
const OWN: [&str; 13] = [
    "chat_conversations_after_delete",
    "chat_conversations_after_insert",
    "chat_messages_after_changes",
    "chat_messages_after_delete",
    "chat_messages_after_insert",
    "chat_messages_after_update",
    "chat_replicas_after_delete",
    "zz_chat_conversations_before_insert",
    "zz_chat_conversations_before_reassign",
    "zz_chat_conversations_before_update",
    "zz_chat_messages_before_delete",
    "zz_chat_messages_before_insert",
    "zz_chat_messages_before_update",
];

/// What was found at the last look.
#[derive(Clone, Default)]
pub(super) struct Triggers {
    /// Those that are off. A std mutex: held to copy the text.
    off: Arc<Mutex<Option<String>>>,
}

impl Triggers {
    /// Tells the log when it is news. A replica stays ready: what it stores may well be told, and all would be affected alike.
    pub async fn look(&self, store: &Store, schema: &str) {
        let off = match store.triggers_off(schema).await {
            Ok(off) => off,
            Err(error) => {
                let cause = error.with_cause();
                return log::debug!("whether triggers are disabled is not known: {cause}");
            }
        };
        let mut known = lock(&self.off);
        if *known == off {
            return;
        }
        match &off {
            Some(names) => log::error!(
                "triggers of pgchat are disabled, so that rows are stored without what they do (numbers, read marks, live \
                 events): {names}; enable them (alter table … enable trigger user)"
            ),
            None => log::info!("all triggers of pgchat are enabled again"),
        }
        *known = off;
    }
}

impl Store {
    /// The names of those that are off, with their tables.
    async fn triggers_off(&self, schema: &str) -> Result<Option<String>, Error> {
        let sql = "select string_agg(t.tgname::text || ' on ' || c.relname::text, ', ' order by c.relname, t.tgname)
                     from pg_trigger t
                     join pg_class c on c.oid = t.tgrelid
                     join pg_namespace n on n.oid = c.relnamespace
                    where n.nspname = $1 and t.tgname::text = any ($2) and not t.tgisinternal and t.tgenabled in ('D', 'R')";
        let params = [
            (&schema as _, Type::TEXT),
            (&OWN.as_slice() as _, Type::TEXT_ARRAY),
        ];
        let statement = self.statement(sql, &params);
        single(&self.run(&self.shared.pool, &statement).await?, 0)
    }
}
