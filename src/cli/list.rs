//! `explaind models`, `methods` and `openapi`: what there is. Tables for people, the bytes of HTTP for programs.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::args::{ListArguments, ListFormat};
use super::{Failure, load};
use crate::config::Settings;
use crate::explain::{methods_view, models_view};
use crate::http;
use crate::input::Kind;

pub(super) fn models(arguments: &ListArguments, settings: &Settings) -> Result<ExitCode, Failure> {
    let view = models_view(&load::catalog(&load::wanted(settings), settings)?);
    if wants_json(arguments) {
        return json(&view);
    }
    let mut rows = vec![["NAME", "SOURCE", "ARCHITECTURE", "TASK", "LABELS", "METHODS"].map(str::to_owned)];
    rows.extend(view.models.into_iter().map(|model| {
        let labels = labels(&model.labels);
        [model.name, model.source, model.architecture, model.task, labels, model.methods.join(" ")]
    }));
    print(&table(&rows))
}

pub(super) fn methods(arguments: &ListArguments, settings: &Settings) -> Result<ExitCode, Failure> {
    let view = methods_view(Some(&load::catalog(&load::wanted(settings), settings)?));
    if wants_json(arguments) {
        return json(&view);
    }
    let mut rows = vec![["NAME", "GROUP", "INPUTS", "MODELS", "SUMMARY"].map(str::to_owned)];
    rows.extend(view.methods.into_iter().map(|method| {
        let inputs: Vec<_> = method.inputs.iter().map(|kind| kind_name(*kind)).collect();
        [method.name, method.group, inputs.join(" "), method.models.join(" "), method.summary]
    }));
    print(&table(&rows))
}

pub(super) fn openapi() -> Result<ExitCode, Failure> {
    print(&http::openapi())
}

fn wants_json(arguments: &ListArguments) -> bool {
    match arguments.format {
        Some(format) => format == ListFormat::Json,
        None => !std::io::stdout().is_terminal(),
    }
}

fn json(view: &impl Serialize) -> Result<ExitCode, Failure> {
    let text = serde_json::to_string(view).map_err(|error| Failure::io("the list", error.into()))?;
    print(&text)
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    super::print(text.as_bytes()).map(|()| ExitCode::SUCCESS)
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Image => "image",
    }
}

/// The first few; a thousand labels of an ImageNet model would bury the table.
fn labels(labels: &[String]) -> String {
    let shown = labels.get(..4).unwrap_or(labels).join(" ");
    if labels.len() > 4 { format!("{shown} … ({})", labels.len()) } else { shown }
}

/// Rows in columns as wide as their widest cell, two spaces apart.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.width() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["NAME", "LABELS"].map(str::to_owned), ["感情", "a b"].map(str::to_owned)];
        assert_eq!(table(&rows), "NAME  LABELS\n感情  a b\n");
    }

    #[test]
    fn many_labels_are_counted() {
        let many: Vec<String> = (0..6).map(|index| index.to_string()).collect();
        assert_eq!(labels(&many), "0 1 2 3 … (6)");
        assert_eq!(labels(&many[..2]), "0 1");
    }
}
