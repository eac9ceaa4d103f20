//! Errors, as RFC 9457 has them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `status` says all.
    #[serde(rename = "type", default)]
    #[schema(value_type = String, required = true)]
    pub kind: Cow<'static, str>,
    /// The name of the status.
    #[serde(default)]
    #[schema(required = true)]
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A sentence or several lines for a person.
    pub detail: String,
    /// The errors of a document, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<DocumentError>,
}

/// An error of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentError {
    /// The file; `null` for the document itself.
    pub file: Option<String>,
    /// The line, from 1; 0 for an error without a place.
    pub line: u32,
    /// The column in characters, from 1; 0 for the whole line.
    pub column: u32,
    /// What is wrong.
    pub text: String,
    /// What to write instead; may be empty.
    pub help: String,
}
