//! Hints in the log at the start, for a person who tries the service out: how to call it, on the embedded database, and that callers are not
//! checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::config::{AuthMode, Config};

/// The two demo users that the console names.
const DEMO_USERS: [&str; 2] = [
    "11111111-1111-4111-8111-111111111111",
    "22222222-2222-4222-8222-222222222222",
];

/// The warning that callers are not checked; in a container nothing else says why nobody outside of it gets an answer.
pub(super) fn trusted_warning(address: SocketAddr) -> String {
    let reached_by = match address.ip().is_loopback() {
        true => "only this machine (in a container: only the container itself) reaches",
        false => "only an authenticating gateway may reach",
    };
    format!(
        "AUTH_MODE=trusted, the default without a key: every caller is believed, and {reached_by} {address}"
    )
}

/// The lines, as they can be pasted. The password of the database is in `url_file`, not in the log.
pub(super) fn hints(config: &Config, listening_on: SocketAddr, url_file: &Path) -> Vec<String> {
    let address = reachable(listening_on);
    let [first, second] = DEMO_USERS;
    let has_tokens = config.auth.mode == AuthMode::Jwt;
    let conversations = format!("http://{address}/api/v1/chat/users/{first}/conversations");
    let bearer = "\"authorization: Bearer $TOKEN\"";
    let mut lines = vec!["try it out:".to_owned()];
    let mut hint = |what: &str, how: String| lines.push(format!("  {what:<18}  {how}"));
    if config.web_page {
        hint("the chat page", format!("http://{address}/"));
    }
    hint("its API", format!("http://{address}/docs/"));
    hint("two demo users", first.to_owned());
    hint("", second.to_owned());
    // Who has set another key makes tokens elsewhere.
    if has_tokens && config.auth.jwt_secret.is_some() {
        hint(
            "a token",
            format!("TOKEN=$(cargo run -q -- token --user {first})"),
        );
    }
    if has_tokens {
        hint(
            "their conversation",
            format!("curl -H {bearer} '{conversations}'"),
        );
        hint(
            "a socket",
            format!("npx wscat -c ws://{address}/ws -H {bearer}"),
        );
    } else {
        hint("their conversation", format!("curl '{conversations}'"));
        hint("a socket", format!("ws://{address}/ws?user_id={second}"));
    }
    let next = address.port().wrapping_add(1);
    hint("a second replica", format!("SERVER_PORT={next} cargo run"));
    hint("SQL", format!("psql \"$(cat {})\"", shell_word(url_file)));
    lines
}

/// A path as a shell takes it, in quotes only where it must be.
fn shell_word(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match path.chars().all(is_plain) {
        true => path,
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

/// Where a client on this machine reaches a server that listens on all interfaces.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_path_with_spaces_or_quotes_can_be_pasted_all_the_same() {
        for path in ["/plain/url", "/home/Ada L/url", "/it's/$HOME/`x`/\"url\""] {
            let how = format!("echo \"$(echo {})\"", shell_word(Path::new(path)));
            let said = Command::new("sh").args(["-c", &how]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout).trim_end(), path);
        }
        let plain = "/var/lib/pgchat-1/url";
        assert_eq!(shell_word(Path::new(plain)), plain);
    }

    #[test]
    fn all_interfaces_are_reached_over_loopback() {
        for (listening_on, address) in [
            ("0.0.0.0:8081", "127.0.0.1:8081"),
            ("[::]:8081", "[::1]:8081"),
            ("10.0.0.1:8081", "10.0.0.1:8081"),
        ] {
            let listening_on = listening_on.parse().expect("an address");
            assert_eq!(reachable(listening_on).to_string(), address);
        }
    }
}
