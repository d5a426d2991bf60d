//! The errors each kind of route can answer, for the document: from the table of `problem` alone.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::http::problem::Code;

/// Of `/explain` and `/predict`: all of them.
pub struct JobProblems;

/// Of `/explain/batch` before its first line is answered; the rest stands in the lines.
pub struct BatchProblems;

/// Of `/models` and `/methods`.
pub struct ListProblems;

/// Of every other route that a key may lock.
pub struct AnyProblems;

const ANY: &[u16] = &[401, 405, 429, 500];

impl IntoResponses for JobProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(|_| true)
    }
}

impl IntoResponses for BatchProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(|status| ANY.contains(&status) || [406, 415, 503].contains(&status))
    }
}

impl IntoResponses for ListProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(|status| ANY.contains(&status) || [406, 503].contains(&status))
    }
}

impl IntoResponses for AnyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(|status| ANY.contains(&status))
    }
}

/// One response a status, its codes in the description.
fn responses(wanted: impl Fn(u16) -> bool) -> BTreeMap<String, RefOr<Response>> {
    let mut codes: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in Code::ALL.iter().filter(|code| wanted(code.status())) {
        codes.entry(code.status()).or_default().push(*code);
    }
    codes.into_iter().map(|(status, codes)| (status.to_string(), RefOr::T(response(status, &codes)))).collect()
}

fn response(status: u16, codes: &[Code]) -> Response {
    let lines: Vec<String> = codes.iter().map(|code| format!("{} (`{}`)", code.title(), code.as_str())).collect();
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response =
        ResponseBuilder::new().description(lines.join("; ")).content("application/problem+json", content);
    if matches!(status, 429 | 503) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        let header = HeaderBuilder::new().schema(Some(seconds)).description(Some("Seconds to wait")).build();
        response = response.header("Retry-After", header);
    }
    response.build()
}
