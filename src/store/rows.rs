//! What is taken out of rows.

use postgres_types::FromSql;
use serde_json::value::RawValue;
use tokio_postgres::Row;

use crate::error::Error;
use crate::model::RawJson;

/// A column of the first row. `Internal` where there is no row, or the column is of another type.
pub(super) fn single<'a, T: FromSql<'a>>(rows: &'a [Row], column: usize) -> Result<T, Error> {
    let row = rows
        .first()
        .ok_or_else(|| Error::Internal("the database returned no row".into()))?;
    column_of(row, column)
}

/// A column of this row. `Internal` where it is of another type.
pub(super) fn column_of<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Error> {
    row.try_get(column).map_err(|e| Error::Internal(e.into()))
}

/// JSON text of our own SQL functions.
pub(super) fn raw_json(text: String) -> Result<RawJson, Error> {
    RawValue::from_string(text).map_err(|e| Error::Internal(e.into()))
}

/// What a function of a newer schema may answer, beside what this program knows: never a success.
pub(super) fn unknown_status(status: &str) -> Error {
    Error::Internal(format!("unknown status {status:?}").into())
}
