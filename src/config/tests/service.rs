//! Where the service listens, whom it believes, and how fast it may be asked.

use super::*;

#[test]
fn addresses_to_listen_on_are_ip_addresses_or_localhost() {
    for (host, addr) in [
        ("0.0.0.0", "0.0.0.0:8081"),
        ("::", "[::]:8081"),
        ("[::1]", "[::1]:8081"),
        ("LocalHost", "127.0.0.1:8081"),
    ] {
        let config = config(&[("SERVER_HOST", host)]);
        assert_eq!(config.server_addr.to_string(), addr);
    }
}

#[test]
fn a_key_switches_the_mode_and_the_address_to_listen_on() {
    let all = "0.0.0.0:8081";
    for (vars, mode, address) in [
        (&[][..], AuthMode::Trusted, "127.0.0.1:8081"),
        (&[("JWT_SECRET", "hunter2")], AuthMode::Jwt, all),
        (&[("JWT_PUBLIC_KEY_FILE", "/k")], AuthMode::Jwt, all),
        (&[("JWT_JWKS_FILE", "/k")], AuthMode::Jwt, all),
        (&[("SERVICE_TOKENS", "hunter2")], AuthMode::Jwt, all),
        (
            &[("AUTH_MODE", "jwt"), ("JWT_SECRET", "hunter2")],
            AuthMode::Jwt,
            all,
        ),
        (
            &[("AUTH_MODE", "trusted"), ("JWT_SECRET", "hunter2")],
            AuthMode::Trusted,
            "127.0.0.1:8081",
        ),
        (
            &[("JWT_SECRET", "hunter2"), ("SERVER_HOST", "127.0.0.2")],
            AuthMode::Jwt,
            "127.0.0.2:8081",
        ),
    ] {
        let config = config(vars);
        assert_eq!(config.auth.mode, mode, "{vars:?}");
        assert_eq!(config.server_addr.to_string(), address, "{vars:?}");
    }
}

#[test]
fn users_may_list_users_unless_tokens_tell_them_from_services_and_the_directory_is_theirs() {
    let key = ("JWT_SECRET", "hunter2");
    let services = ("USER_DIRECTORY", "services");
    for (vars, may) in [
        (&[key][..], true),
        (&[key, ("USER_DIRECTORY", "all")], true),
        (&[key, services], false),
        (&[("AUTH_MODE", "trusted"), services], true),
    ] {
        assert_eq!(config(vars).lists_users_to_users, may, "{vars:?}");
    }
    // Whoever sets it without a key takes for private what is not.
    let fault = Config::from_vars(&[services]).unwrap_err();
    assert_eq!(fault.variable, "USER_DIRECTORY");
}

#[test]
fn what_just_fits_together_is_taken() {
    let body = [("MAX_BODY_BYTES", "2048"), ("MAX_MESSAGE_BYTES", "1024")];
    assert_eq!(config(&body).limits.body_bytes, 2048);
    // Not chosen, it follows: each byte of a content may be spelled with six.
    let long = [("MAX_MESSAGE_BYTES", "1000000")];
    assert_eq!(config(&long).limits.body_bytes, 6_001_024);
    let longest = [
        ("MAX_MESSAGE_BYTES", "10485760"),
        ("MAX_BODY_BYTES", "1048576"),
    ];
    assert_eq!(config(&longest).limits.body_bytes, 62_915_584);
    let delay = [
        ("SHUTDOWN_GRACE_SECONDS", "2"),
        ("SHUTDOWN_DELAY_SECONDS", "1"),
    ];
    assert_eq!(config(&delay).timeouts.shutdown_delay.as_secs(), 1);
    // An end without any waiting.
    let at_once = config(&[("SHUTDOWN_GRACE_SECONDS", "0")]).timeouts;
    assert!(at_once.shutdown_grace.is_zero());
}

#[test]
fn a_limit_that_may_be_zero_is_none_then() {
    let limits = config(&[
        ("MAX_CONNECTIONS", "0"),
        ("MAX_CONNECTIONS_PER_USER", "0"),
        ("MAX_READS_PER_USER", "0"),
        ("REFUSED_HANDSHAKES_PER_SECOND", "0"),
    ])
    .limits;
    assert_eq!(
        (limits.connections, limits.connections_per_user),
        (None, None)
    );
    assert_eq!(
        (limits.reads_per_user, limits.refused_handshakes),
        (None, None)
    );
}

#[test]
fn either_zero_turns_the_rate_limit_off() {
    for name in ["RATE_LIMIT_PER_SECOND", "RATE_LIMIT_BURST"] {
        assert_eq!(config(&[(name, "0")]).limits.rate, None);
    }
}
