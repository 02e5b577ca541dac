//! Settings that are one of a few words.

use crate::names::names;

names! {
    /// How callers prove who they are (`AUTH_MODE`).
    AuthMode {
        /// Callers are believed: a gateway in front has checked them.
        Trusted = "trusted",
        /// A signed token names the user.
        Jwt = "jwt",
    }
}

names! {
    /// How a line of the log looks (`LOG_FORMAT`).
    LogFormat {
        Pretty = "pretty",
        Json = "json",
    }
}

names! {
    /// libpq's modes of the same names (PostgreSQL manual, "SSL Support"): `DB_SSL_MODE`, and `sslmode` of a URL.
    SslMode {
        Disable = "disable",
        Prefer = "prefer",
        Require = "require",
        VerifyCa = "verify-ca",
        VerifyFull = "verify-full",
    }
}
