//! Which web pages may call, by their origins.

/// Browsers' origins (`ALLOWED_ORIGINS`). They are for pages only: whatever is no browser sends no `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Pages that the service's own host and port served.
    SameOrigin {
        /// Pages of any port of this machine are let in too: what is tried out on the embedded database is often a page
        /// that its developer serves beside it.
        local_pages: bool,
    },
    /// These and no others: the service's own origin must be listed, too. As browsers send them: lower case, without a default port.
    Listed(Vec<String>),
    Any,
}

impl AllowedOrigins {
    /// `*` alone, or origins, comma-separated. `None` for what no browser sends.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let items: Vec<&str> = text.split(',').map(str::trim).collect();
        if items == ["*"] {
            return Some(Self::Any);
        }
        let listed: Option<_> = items.into_iter().map(origin).collect();
        listed.map(Self::Listed)
    }

    /// Whether no page of another origin may do anything: then no answer depends on the origin.
    pub fn is_same_origin_only(&self) -> bool {
        matches!(self, Self::SameOrigin { local_pages: false })
    }

    /// Whether a page of `origin`, which is another one than the service's, may call and read the answers (CORS).
    pub fn may_read(&self, origin: &str) -> bool {
        match self {
            Self::SameOrigin { local_pages } => *local_pages && is_loopback_origin(origin),
            Self::Listed(origins) => origins
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(origin)),
            Self::Any => true,
        }
    }

    /// Whether a page of `origin` may open a socket, by a handshake with this header `Host`.
    pub fn may_open_socket(&self, origin: &str, host: Option<&str>) -> bool {
        let is_own = match self {
            Self::SameOrigin { .. } => host.is_some_and(|host| is_same_host(origin, host)),
            Self::Listed(_) | Self::Any => false,
        };
        is_own || self.may_read(origin)
    }
}

/// As a browser sends it: in lower case, without a slash at the end, without a default port.
fn origin(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, host) = text.split_once("://")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !scheme_fits || host.is_empty() || host.starts_with(':') || !host.chars().all(allowed) {
        return None;
    }
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Some(text),
    };
    Some(text.strip_suffix(default_port).unwrap_or(&text).to_owned())
}

/// Whether a page with this origin was served by this machine itself, whatever the port.
fn is_loopback_origin(origin: &str) -> bool {
    let Some((scheme, host)) = origin.split_once("://") else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(scheme, "http" | "https") && matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// The scheme's default port may be written or left out, on either side. The schemes are not compared: behind a
/// proxy that ends TLS, this side cannot know its own.
fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, origin_host)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |host: &str| {
        let host = host.to_ascii_lowercase();
        host.strip_suffix(default_port)
            .map_or(host.clone(), str::to_owned)
    };
    bare(origin_host) == bare(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: &str = "chat.example";
    const OWN: &str = "https://chat.example";
    const LOCAL: &str = "http://localhost:5173";
    const APP: &str = "https://app.example";
    const OTHER: &str = "https://other.example";

    /// Which of the four origins above may read, and which may open a socket.
    fn let_in(allowed: &AllowedOrigins) -> [[bool; 4]; 2] {
        let origins = [OWN, LOCAL, APP, OTHER];
        [
            origins.map(|origin| allowed.may_read(origin)),
            origins.map(|origin| allowed.may_open_socket(origin, Some(HOST))),
        ]
    }

    #[test]
    fn without_a_list_a_page_is_let_in_by_its_host_and_on_the_embedded_database_by_its_machine() {
        let (yes, no) = (true, false);
        let strict = AllowedOrigins::SameOrigin { local_pages: false };
        assert!(strict.is_same_origin_only());
        // Nobody asks by CORS for the page of the same origin.
        assert_eq!(let_in(&strict), [[no, no, no, no], [yes, no, no, no]]);
        let local = AllowedOrigins::SameOrigin { local_pages: true };
        assert!(!local.is_same_origin_only());
        assert_eq!(let_in(&local), [[no, yes, no, no], [yes, yes, no, no]]);
        assert!(!strict.may_open_socket(OWN, None));
    }

    #[test]
    fn a_list_is_all_that_is_let_in_whatever_the_host() {
        let (yes, no) = (true, false);
        let listed = AllowedOrigins::parse(APP).unwrap();
        assert!(!listed.is_same_origin_only());
        assert_eq!(let_in(&listed), [[no, no, yes, no], [no, no, yes, no]]);
        assert!(listed.may_read("HTTPS://App.Example"));
        assert!(listed.may_open_socket(APP, None));
    }

    #[test]
    fn a_star_lets_in_all() {
        let any = AllowedOrigins::parse(" * ").unwrap();
        assert_eq!(any, AllowedOrigins::Any);
        assert!(!any.is_same_origin_only());
        assert_eq!(let_in(&any), [[true; 4]; 2]);
        assert!(any.may_open_socket("null", None));
    }

    #[test]
    fn only_this_machine_is_a_loopback_origin() {
        for yes in [
            "http://localhost",
            "http://localhost:5173",
            "https://127.0.0.1:8082",
            "http://[::1]:3000",
            "http://[::1]",
        ] {
            assert!(is_loopback_origin(yes), "{yes}");
        }
        for no in [
            "null",
            "file://",
            "http://localhost.evil.example",
            "http://evil.example:80",
            "http://127.0.0.1.evil.example",
            "ftp://localhost",
            "http://localhost:80.evil.example",
            "http://127.0.0.2",
        ] {
            assert!(!is_loopback_origin(no), "{no}");
        }
    }

    #[test]
    fn origins_are_as_browsers_send_them() {
        let cases = [
            (
                "https://A.example.com/",
                Some(vec!["https://a.example.com"]),
            ),
            (
                "https://a:443, http://b:80",
                Some(vec!["https://a", "http://b"]),
            ),
            (
                "https://a:80,http://[::1]:3000",
                Some(vec!["https://a:80", "http://[::1]:3000"]),
            ),
            ("capacitor://localhost", Some(vec!["capacitor://localhost"])),
            ("*,https://a", None),
            ("https://a,", None),
            ("https://a/path", None),
            ("https://*.a", None),
            ("https://", None),
            ("https://:80", None),
            ("a.example.com", None),
            ("null", None),
        ];
        for (text, expected) in cases {
            let listed = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
            let expected = expected.map(|list| AllowedOrigins::Listed(listed(list)));
            assert_eq!(AllowedOrigins::parse(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_page_of_another_host_is_another_origin(host in "[a-z0-9.-]{1,20}(:[0-9]{1,5})?", other in "[a-z0-9.@/#?-]{1,20}(:[0-9]{1,5})?") {
            for scheme in ["http", "https"] {
                let same = is_same_host(&format!("{scheme}://{other}"), &host);
                let port = if scheme == "http" { ":80" } else { ":443" };
                let bare = |name: &str| name.strip_suffix(port).unwrap_or(name).to_owned();
                prop_assert_eq!(same, bare(&host) == bare(&other));
            }
        }
    }
}
