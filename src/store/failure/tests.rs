use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_postgres::NoTls;

use super::*;

#[test]
fn what_the_host_says_to_a_user_is_cut_at_256_characters() {
    let fits = "é".repeat(256);
    assert_eq!(shortened(&fits, MAX_REFUSAL), fits);
    let longer = shortened(&format!("{fits}é"), MAX_REFUSAL);
    assert_eq!(longer, format!("{fits}…"));
}

/// A pooler writes its own errors, whose codes may be odd.
#[tokio::test]
async fn every_error_is_one_fault_and_nothing_else() {
    use Fault::*;
    for (code, more, fault) in [
        ("08006", "", ConnectionLost),
        ("08P01", "", ConnectionLost),
        ("57P01", "", ConnectionLost),
        ("57P02", "", ConnectionLost),
        ("57P03", "", ConnectionLost),
        ("57P05", "", ConnectionLost),
        ("25P03", "", ConnectionLost),
        ("25006", "", ConnectionLost),
        ("26000", "", StatementLost),
        ("0A000", "Fplancache.c\0", StatementLost),
        ("0A000", "Fparse_cte.c\0", Refused),
        ("0A000", "", Refused),
        ("42804", "FexecExprInterp.c\0", StatementLost),
        ("42804", "Rplpgsql_param_eval_var\0", StatementLost),
        ("42804", "Fpl_exec.c\0Rexec_stmt_foreach_a\0", Refused),
        ("57014", "", TooSlow),
        ("25P04", "", TooSlow),
        ("55P03", "", Held),
        ("40001", "", Collided),
        ("40P01", "", Collided),
        ("53", "", Exhausted),
        ("53100", "", Exhausted),
        ("53300", "", Exhausted),
        ("55000", "", Exhausted),
        ("58030", "", Exhausted),
        (
            "54000",
            "Mtoo many notifications in the NOTIFY queue\0",
            Exhausted,
        ),
        ("54000", "Mindex row size exceeds its maximum\0", Refused),
        (
            "08001",
            "WPL/pgSQL function price() line 3 at SQL statement\0",
            Exhausted,
        ),
        (
            "57P01",
            "WPL/pgSQL function price() line 3 at RAISE\0",
            Exhausted,
        ),
        (
            "25006",
            "WPL/pgSQL function price() line 3 at SQL statement\0",
            Exhausted,
        ),
        (
            "57P01",
            "VFATAL\0WPL/pgSQL function price() line 3 at RAISE\0",
            ConnectionLost,
        ),
        (
            "25006",
            "WPL/pgSQL function chat_store_message(uuid) line 3 at SQL statement\0",
            ConnectionLost,
        ),
        ("PC403", "", Denied),
        ("23505", "", Refused),
        ("42501", "", Refused),
        ("P0001", "", Refused),
        ("42883", "Faclchk.c\0", StatementLost),
        ("42883", "Fparse_func.c\0", Refused),
        ("42P01", "Faclchk.c\0", StatementLost),
        ("42P01", "Fparse_relation.c\0", Refused),
        (
            "XX000",
            "Mcache lookup failed for function 16402\0",
            StatementLost,
        ),
        (
            "XX000",
            "Mcould not open relation with OID 16402\0",
            StatementLost,
        ),
        ("XX000", "Mtuple concurrently updated\0", Collided),
        ("XX000", "", Refused),
        ("XX000", "VFATAL\0", ConnectionLost),
        ("57P04", "VFATAL\0", ConnectionLost),
        ("5", "VPANIC\0", ConnectionLost),
        ("", "", Refused),
        ("5", "", Refused),
        ("é1", "", Refused),
    ] {
        let error = refused_with(code, more).await;
        assert_eq!(error.code().map(SqlState::code), Some(code));
        assert_eq!(Fault::of(&error), fault, "{code:?} {more:?}");
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config_of(&silent);
    let hung_up = async { drop(silent.accept().await) };
    let (connected, ()) = tokio::join!(config.connect(NoTls), hung_up);
    let error = connected.err().expect("nobody answers");
    assert_eq!(Fault::of(&error), ConnectionLost);
}

#[test]
fn what_may_pass_is_called_unavailable_and_what_will_not_internal() {
    use Fault::*;
    for fault in [
        NoConnection,
        ConnectionLost,
        NoAnswer,
        TooSlow,
        Held,
        Collided,
        Exhausted,
    ] {
        assert!(fault.may_pass(), "{fault:?}");
        let error = Error::from(QueryFailure::because(fault, "why"));
        assert!(matches!(error, Error::Unavailable { .. }), "{fault:?}");
    }
    assert!(!StatementLost.may_pass() && !Refused.may_pass());
    assert!(!OtherAnswer.may_pass() && !QueryFailure::other_answer().is_too_slow());
    let other = Error::from(QueryFailure::other_answer());
    assert!(matches!(other, Error::Internal(_)));
    let lost = Error::from(QueryFailure::because(StatementLost, "why"));
    assert!(matches!(lost, Error::Unavailable { .. }));
    let refused = Error::from(QueryFailure::because(Refused, "why"));
    assert!(matches!(refused, Error::Internal(why) if why.to_string() == "why"));
}

/// An error as a server words it: its code, and further fields of the message (PostgreSQL
/// manual, "Error and Notice Message Fields"), each ended by a zero.
async fn refused_with(code: &str, more: &str) -> tokio_postgres::Error {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config_of(&server);
    let refusal = async {
        let (mut client, _) = server.accept().await.unwrap();
        let message = if more.starts_with('M') { "" } else { "Mno\0" };
        let fields = format!("SERROR\0C{code}\0{message}{more}\0");
        let length = u32::try_from(4 + fields.len()).unwrap();
        client.write_all(b"E").await.unwrap();
        client.write_all(&length.to_be_bytes()).await.unwrap();
        client.write_all(fields.as_bytes()).await.unwrap();
        client
    };
    let (connected, _client) = tokio::join!(config.connect(NoTls), refusal);
    connected.err().expect("refused")
}

fn config_of(server: &TcpListener) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    let port = server.local_addr().unwrap().port();
    config.host("127.0.0.1").user("u").port(port);
    config
}
