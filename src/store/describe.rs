//! Errors of the database in words, for the log, and what a connection fails for.

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

use super::migration_files::is_own;
use crate::error::causes;

/// All connections of a pool were in use until there was no more time.
pub(super) const NONE_CAME_FREE: &str = "no pooled connection came free in time";

/// Why a pool has no connection to give: what the new one met, where that is it.
pub(super) fn describe_pool(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => describe(error),
        // deadpool's own words are about its objects.
        PoolError::Timeout(TimeoutType::Wait) => NONE_CAME_FREE.to_owned(),
        PoolError::Timeout(TimeoutType::Create) => {
            "a new connection was not made in time".to_owned()
        }
        PoolError::Timeout(TimeoutType::Recycle) => {
            "a pooled connection did not answer in time".to_owned()
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
    (!is_own(name)).then_some(place)
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
            for cause in causes(error).map(ToString::to_string) {
                if !text.contains(&cause) {
                    text.push_str(": ");
                    text.push_str(&cause);
                }
            }
            text
        }
    }
}

/// What stands in the way of a connection, as far as settings may mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The user or the password.
    Credentials,
    /// There is no database of that name.
    NoDatabase,
    /// No host accepts writes.
    ReadOnly,
    Tls,
    /// Nobody answers.
    Unreachable,
    Other,
}

impl Obstacle {
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) => Self::of_code(code),
            None => Self::of_text(&describe(error)),
        }
    }

    fn of_code(code: &SqlState) -> Self {
        match *code {
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                Self::Credentials
            }
            SqlState::INVALID_CATALOG_NAME => Self::NoDatabase,
            _ => Self::Other,
        }
    }

    /// tokio-postgres keeps to itself of what kind its own errors are.
    fn of_text(text: &str) -> Self {
        if text.ends_with("password missing") {
            Self::Credentials
        } else if text.ends_with("database does not allow writes") {
            Self::ReadOnly
        } else if text.starts_with("error performing TLS handshake") {
            Self::Tls
        } else if text.starts_with("error connecting") {
            Self::Unreachable
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_of_a_connection_is_told_by_code_or_text() {
        for (code, obstacle) in [
            ("28P01", Obstacle::Credentials),
            ("28000", Obstacle::Credentials),
            ("3D000", Obstacle::NoDatabase),
            ("57P03", Obstacle::Other),
        ] {
            assert_eq!(Obstacle::of_code(&SqlState::from_code(code)), obstacle);
        }
        for (text, obstacle) in [
            (
                "invalid configuration: password missing",
                Obstacle::Credentials,
            ),
            (
                "error connecting to server: Connection refused (os error 111)",
                Obstacle::Unreachable,
            ),
            (
                "error performing TLS handshake: server does not support TLS",
                Obstacle::Tls,
            ),
            (
                "error connecting to server: database does not allow writes",
                Obstacle::ReadOnly,
            ),
            ("connection closed", Obstacle::Other),
        ] {
            assert_eq!(Obstacle::of_text(text), obstacle, "{text}");
        }
    }

    #[test]
    fn what_a_pool_had_no_time_for_is_told_in_words_of_connections() {
        for (waited_for, words) in [
            (TimeoutType::Wait, "no pooled connection came free in time"),
            (TimeoutType::Create, "a new connection was not made in time"),
            (
                TimeoutType::Recycle,
                "a pooled connection did not answer in time",
            ),
        ] {
            assert_eq!(describe_pool(&PoolError::Timeout(waited_for)), words);
        }
    }

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
                "public.chat_users_plan(regclass,jsonb,name)",
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

    /// What called the host's trigger.
    fn own() -> &'static str {
        "PL/pgSQL function public.chat_store_message(uuid,uuid,uuid,text,text,text,boolean,integer) line 43 at SQL statement"
    }
}
