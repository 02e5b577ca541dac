//! What went wrong with a statement, and what of it may be tried again.

use deadpool_postgres::{HookError, Pool, PoolError};
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::migrations;
use super::repeats::Repeats;
use crate::error::Error;

/// Why a statement failed, in the words of the service.
#[derive(Debug)]
pub(super) struct QueryFailure {
    pub(super) error: Error,
    /// A read can be repeated on another connection.
    pub(super) lost: Option<Lost>,
    /// The statement began and took too long: its deadline passed, or the server ended it (`statement_timeout` or
    /// `transaction_timeout` of the role, or of the database). A silent server looks the same.
    pub(super) too_slow: bool,
    /// Another transaction held a row for longer than the statement waits (55P03): nothing was changed.
    pub(super) is_held: bool,
}

impl QueryFailure {
    pub(super) fn no_connection(reason: &str) -> Self {
        static LINES: Repeats = Repeats::new();
        LINES.warn(format_args!("database unreachable: {reason}"));
        Self::because("the database cannot be reached")
    }

    pub(super) fn no_answer() -> Self {
        static LINES: Repeats = Repeats::new();
        LINES.warn("the database did not answer in time");
        Self {
            too_slow: true,
            ..Self::because("the database did not answer in time")
        }
    }

    /// A row was held until the deadline.
    pub(super) fn held() -> Self {
        static LINES: Repeats = Repeats::new();
        LINES.warn("another program's transaction held a row until the deadline");
        Self::because("another transaction is changing this")
    }

    /// Closes the pool's idle connections where a statement was lost: most probably it is gone from the other sessions as well.
    pub(super) fn renew(&self, pool: &Pool) {
        if self.lost == Some(Lost::Statement) {
            pool.retain(|_, _| false);
        }
    }

    fn because(reason: &str) -> Self {
        Self {
            error: Error::unavailable(reason),
            lost: None,
            too_slow: false,
            is_held: false,
        }
    }

    pub(super) fn of(error: tokio_postgres::Error) -> Self {
        let lost = lost(&error);
        if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
            log::debug!("database: {}", describe(&error));
            Self {
                is_held: true,
                ..Self::because("another transaction is changing this")
            }
        } else if lost.is_some() || is_transient(&error) {
            static LINES: Repeats = Repeats::new();
            LINES.warn(format_args!("database: {}", describe(&error)));
            Self {
                lost,
                too_slow: error.as_db_error().is_some_and(is_timeout),
                ..Self::because("the database is not available")
            }
        } else {
            Self {
                error: Error::Internal(describe(&error).into()),
                lost: None,
                too_slow: false,
                is_held: false,
            }
        }
    }
}

impl From<QueryFailure> for Error {
    fn from(failure: QueryFailure) -> Self {
        failure.error
    }
}

/// What of a connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// All of it; whether the statement took place is not known.
    Connection,
    /// A prepared statement, which did not take place: somebody discarded it, a migration changed what its function
    /// returns ("cached plan must not change result type"), or what was planned in the session was for other types than the columns have now.
    /// A new connection prepares it anew.
    Statement,
}

pub(super) fn lost(error: &tokio_postgres::Error) -> Option<Lost> {
    if is_connection_lost(error) {
        Some(Lost::Connection)
    } else if error.as_db_error().is_some_and(is_statement_lost) {
        Some(Lost::Statement)
    } else {
        None
    }
}

/// Told by where it is raised, since with the same codes the parser, or a trigger of the host's, refuses what will not work in a new
/// session either. When somebody has changed a column's type, PL/pgSQL goes on with expressions of a row that it planned before
/// ("attribute 4 has wrong type"), for as long as the session lives (PostgreSQL manual, "Plan Caching").
fn is_statement_lost(db: &DbError) -> bool {
    let is_raised_in = |file| db.file() == Some(file);
    let is_of_parameters = || {
        db.routine()
            .is_some_and(|name| name.starts_with("plpgsql_param_eval"))
    };
    match *db.code() {
        SqlState::INVALID_SQL_STATEMENT_NAME => true,
        SqlState::FEATURE_NOT_SUPPORTED => is_raised_in("plancache.c"),
        SqlState::DATATYPE_MISMATCH => is_raised_in("execExprInterp.c") || is_of_parameters(),
        _ => false,
    }
}

/// The connection is gone, or the server is about to end it (PostgreSQL manual, appendix A, classes 08 and 57P).
pub(super) fn is_connection_lost(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        None => true,
        Some(code) => {
            code.code().starts_with("08")
                || [
                    SqlState::ADMIN_SHUTDOWN,
                    SqlState::CRASH_SHUTDOWN,
                    SqlState::CANNOT_CONNECT_NOW,
                    SqlState::IDLE_SESSION_TIMEOUT,
                    // What the transaction had done is undone, and the statement that hears of it was never run.
                    SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                    SqlState::READ_ONLY_SQL_TRANSACTION,
                ]
                .contains(code)
        }
    }
}

/// The session ends with it, whatever it says of the statement (PostgreSQL manual, "Message Severity Levels").
pub(super) fn ends_session(error: &tokio_postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(DbError::parsed_severity);
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

/// Worth another try later: other transactions were in the way, or the server has too little of something.
pub(super) fn is_transient(error: &tokio_postgres::Error) -> bool {
    is_collision(error) || is_exhaustion(error)
}

/// Serialization and deadlocks (class 40).
pub(super) fn is_collision(error: &tokio_postgres::Error) -> bool {
    error
        .code()
        .is_some_and(|code| code.code().starts_with("40"))
}

/// Out of resources, not in the state that it needs, faults of the system (classes 53, 55 and 58), a statement that was
/// cancelled or took too long, or a full queue of notifications.
pub(super) fn is_exhaustion(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| {
        let is_of = |class| db.code().code().starts_with(class);
        ["53", "55", "58"].into_iter().any(is_of) || is_timeout(db) || is_notify_queue_full(db)
    })
}

/// The server has ended the statement, most probably for its length. A `transaction_timeout` (from PostgreSQL 17 on) ends the session
/// with it, but what became of the statement is known: it was undone, and on another connection it would take as long.
fn is_timeout(db: &DbError) -> bool {
    const TRANSACTION_TIMEOUT: &str = "25P04";
    *db.code() == SqlState::QUERY_CANCELED || db.code().code() == TRANSACTION_TIMEOUT
}

/// Which nobody's input causes, unlike the others of its code: a row that is too long for an index of the host's, for
/// one. The message keeps the command's name in every language.
fn is_notify_queue_full(db: &DbError) -> bool {
    *db.code() == SqlState::PROGRAM_LIMIT_EXCEEDED && db.message().contains("NOTIFY")
}

/// Why a pool has no connection to give: what the new one met, where that is it.
pub(super) fn describe_pool(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            describe(error)
        }
        other => other.to_string(),
    }
}

/// Where in the host's functions it failed, if it was there: in a trigger on the chat tables, or in an event trigger. Without that, an
/// error of theirs looks like one of pgchat's. The innermost function counts; what pgchat's own refuse, they say themselves.
pub(super) fn host_function(error: &tokio_postgres::Error) -> Option<&str> {
    host_function_in(error.as_db_error()?.where_()?)
}

/// The lines of the context are in the language of the database's `lc_messages`, with the function's name ahead of its arguments in
/// all of them: `fonction PL/pgSQL answer(), ligne 3 à RAISE`.
fn host_function_in(context: &str) -> Option<&str> {
    let place = context.lines().find(|line| line.contains("PL/pgSQL"))?;
    let called = match place.split_once('(') {
        // With quotes where all names have them (quote_all_identifiers).
        Some((called, _)) => called.trim_end_matches('"'),
        // While it is compiled: `compilation of PL/pgSQL function "answer" near line 3`. A block of statements (`do`) has no name.
        None => place.split('"').nth(1)?,
    };
    let is_of_names = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = called.rsplit(|c| !is_of_names(c)).next().unwrap_or(called);
    (!migrations::is_own(name)).then_some(place)
}

/// The server's own words, with its code: tokio-postgres alone prints only "db error".
pub fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => {
            let mut text = format!("{} ({})", db.message(), db.code().code());
            if let Some(place) = host_function(error) {
                text.push_str(" in ");
                text.push_str(place);
            }
            if let Some(hint) = db.hint() {
                text.push_str("; ");
                text.push_str(hint);
            }
            text
        }
        None => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text.push_str(": ");
                    text.push_str(&cause_text);
                }
                source = cause.source();
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio_postgres::NoTls;

    use super::*;

    /// As PostgreSQL 15's translations have it: `PL/pgSQL function %s line %d at %s`.
    const LANGUAGES: [&str; 15] = [
        "PL/pgSQL function %s line 3 at RAISE",
        "PL/pgSQL funkce %s řádek 3 na RAISE",
        "PL/pgSQL-Funktion %s Zeile 3 bei RAISE",
        "συνάρτηση PL/pgSQL %s γραμμή 3 στο RAISE",
        "función PL/pgSQL %s en la línea 3 en RAISE",
        "fonction PL/pgSQL %s, ligne 3 à RAISE",
        "funzione PL/pgSQL %s riga 3 a RAISE",
        "PL/pgSQL関数%sの3行目 - RAISE",
        "PL/pgSQL ფუნქცია %s ხაზზე 3 RAISE-სთან",
        "PL/pgSQL 함수 \"%s\" 의 3번째 RAISE",
        "funkcja PL/pgSQL %s, wiersz 3 w RAISE",
        "функция PL/pgSQL %s, строка 3, оператор RAISE",
        "PL/pgSQL-funktion %s rad 3 vid RAISE",
        "%s PL/pgSQL fonksiyonu, 3. satır, RAISE içinde",
        "在RAISE的第3行的PL/pgSQL函数%s",
    ];

    #[test]
    fn a_function_of_the_hosts_is_told_from_pgchats_own_in_every_language() {
        for language in LANGUAGES {
            let line = |function: &str| language.replace("%s", function);
            for function in [
                "answer()",
                "app.answer(uuid,text)",
                // Hosts, too, have functions about the chat.
                "chat_audit()",
                "public.chat_audit()",
                "größe()",
                "\"answer\"(\"text\")",
            ] {
                let line = line(function);
                let context = format!("SQL-Anweisung »insert into x«\n{line}\n{}", own());
                assert_eq!(host_function_in(&context), Some(line.as_str()));
            }
            for function in [
                "chat_send_messages(uuid[],uuid[])",
                "public.chat_users_plan(regclass,jsonb)",
                "\"public\".\"chat_relink_users\"(\"text\",\"jsonb\")",
            ] {
                assert_eq!(host_function_in(&line(function)), None, "{language}");
            }
        }
        // While one is compiled.
        let compiled =
            |name: &str| format!("compilation of PL/pgSQL function \"{name}\" near line 4");
        assert_eq!(host_function_in(&compiled("chat_mark_read")), None);
        let hosts = compiled("answer");
        assert_eq!(host_function_in(&hosts), Some(hosts.as_str()));
        let own = "PL/pgSQL function inline_code_block line 3 at EXECUTE";
        assert_eq!(host_function_in(own), None);
        assert_eq!(
            host_function_in("SQL function \"answer\" statement 1"),
            None
        );
    }

    /// A pooler writes its own errors.
    #[tokio::test]
    async fn an_error_with_an_odd_code_is_told_from_the_others() {
        for (code, transient) in [("", false), ("5", false), ("é1", false), ("53", true)] {
            let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut config = tokio_postgres::Config::new();
            config
                .host("127.0.0.1")
                .user("u")
                .port(server.local_addr().unwrap().port());
            let refusal = async {
                let (mut client, _) = server.accept().await.unwrap();
                let fields = format!("SERROR\0C{code}\0Mno\0\0");
                let length = u32::try_from(4 + fields.len()).unwrap();
                client.write_all(b"E").await.unwrap();
                client.write_all(&length.to_be_bytes()).await.unwrap();
                client.write_all(fields.as_bytes()).await.unwrap();
                client
            };
            let (connected, _client) = tokio::join!(config.connect(NoTls), refusal);
            let error = connected.err().expect("refused");
            assert_eq!(error.code().map(SqlState::code), Some(code));
            assert_eq!(is_transient(&error), transient, "{code:?}");
        }
    }

    /// What called the host's trigger.
    fn own() -> &'static str {
        "PL/pgSQL function public.chat_store_message(uuid,uuid,uuid,text,text,text,boolean,integer) line 43 at SQL statement"
    }
}
