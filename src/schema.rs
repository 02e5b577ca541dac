//! What the API's objects and frames look like, for the documents that the service serves about itself
//! (`http::docs`). Mostly descriptions, of which nothing is ever constructed, since PostgreSQL builds most of the JSON
//! (`sql/migrations/`). The black-box tests hold every answer and every frame that they see against them.

// Fields are read by the derive macro alone.
#![allow(dead_code)]

pub mod close_codes;
pub mod frames;
pub mod objects;
pub mod request_name;
