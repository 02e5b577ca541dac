//! What a client calls its command: `requestId`.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// As it came, a string or a number, since many clients count what they send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RequestName {
    Text(String),
    Number(i64),
}

impl RequestName {
    /// Longest string, in bytes: it is kept while the command is in flight.
    pub const MAX_BYTES: usize = 128;
    /// 2⁵³ − 1, and as far below 0: beyond that two numbers are one to clients that have doubles only (RFC 8259, section 6).
    pub const GREATEST: i64 = 9_007_199_254_740_991;

    /// Of a client's frame.
    pub fn given() -> RefOr<Schema> {
        RefOr::T(Self::described([Type::String, Type::Integer]))
    }

    fn described(types: impl IntoIterator<Item = Type>) -> Schema {
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter(types))
            .max_length(Some(Self::MAX_BYTES))
            .minimum(Some(-Self::GREATEST))
            .maximum(Some(Self::GREATEST))
            .into()
    }
}

/// Of an answer, where it is null if the command had none.
impl PartialSchema for RequestName {
    fn schema() -> RefOr<Schema> {
        RefOr::T(Self::described([Type::String, Type::Integer, Type::Null]))
    }
}

impl ToSchema for RequestName {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("RequestId")
    }
}
