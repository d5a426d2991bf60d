//! A report as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::report::{MethodReport, Report};
use super::statistics::Estimate;

/// Draws `report`.
pub fn markdown(report: &Report) -> String {
    let mut page = String::new();
    let run = &report.run;
    let _ = writeln!(page, "# Explanations of {}\n", run.model["name"].as_str().unwrap_or_default());
    let _ = writeln!(page, "{}\n", introduction(report));
    let settings = settings(report);
    if !settings.is_empty() {
        let _ = writeln!(page, "Settings given: {}.\n", settings.join("; "));
    }
    if let Some(accuracy) = &report.accuracy {
        let _ = writeln!(page, "The predicted class is the label in {} of {} items.\n", estimate(accuracy), accuracy.n);
    }
    section(&mut page, "Cost", &report.methods, &cost_columns(), false);
    let tables: [(&str, Numbers); 3] = [
        ("Faithfulness", |method| &method.faithfulness),
        ("Against people's marks", |method| &method.marks),
        ("Against people's marks, right predictions alone", |method| &method.marks_right),
    ];
    for (title, numbers) in tables {
        section(&mut page, title, &report.methods, &columns(&report.methods, numbers), true);
    }
    agreement(&mut page, report);
    words(&mut page, report);
    checks(report).iter().for_each(|section| page.push_str(section));
    failures(&mut page, &report.methods);
    page
}

/// The sections of the checks beside the items' explanations.
pub(super) fn checks(report: &Report) -> Vec<String> {
    let groups = report.groups.as_ref().map(super::swaps::Swaps::markdown);
    let templates = report.templates.as_ref().map(super::templates::Templates::markdown);
    let sanity = report.sanity.as_ref().map(super::sanity::Sanity::markdown);
    let drift = report.drift.as_ref().map(super::drift::Drift::markdown);
    [groups, templates, sanity, drift].into_iter().flatten().collect()
}

/// The settings of methods that were asked with some, and of measuring.
pub(super) fn settings(report: &Report) -> Vec<String> {
    let of = |settings: &serde_json::Value, left_out: &str| {
        let settings = settings.as_object().into_iter().flatten().filter(|(key, _)| *key != left_out);
        settings.map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join(", ")
    };
    let method = |method: &serde_json::Value| {
        let settings = of(method, "method");
        (!settings.is_empty()).then(|| format!("{}: {settings}", method["method"].as_str().unwrap_or_default()))
    };
    let measuring = of(&report.run.evaluate, "");
    let measuring = (!measuring.is_empty()).then(|| format!("measuring: {measuring}"));
    report.run.methods.iter().filter_map(method).chain(measuring).collect()
}

/// What was run and how the numbers are meant.
pub(super) fn introduction(report: &Report) -> String {
    let run = &report.run;
    format!(
        "{} items of {}, target {}, explaind {}, seed {}. A number is the mean over items with its {:.0} % interval \
         ({}, {} resamples).",
        run.items,
        run.data,
        run.target,
        run.version,
        run.seed,
        100.0 * report.intervals.level,
        report.intervals.method,
        report.intervals.resamples
    )
}

/// A method's estimate in a column.
pub(super) type Cell = Box<dyn Fn(&MethodReport) -> Option<Estimate>>;

/// A column: its title and a method's estimate there.
pub(super) struct Column {
    pub title: String,
    pub of: Cell,
}

pub(super) fn cost_columns() -> Vec<Column> {
    vec![
        Column { title: "evaluations".to_owned(), of: Box::new(|method| method.evaluations) },
        Column { title: "seconds".to_owned(), of: Box::new(|method| method.seconds) },
        Column { title: "converged".to_owned(), of: Box::new(|method| method.converged) },
    ]
}

/// Numbers of a method by their names.
pub(super) type Numbers = fn(&MethodReport) -> &BTreeMap<String, Estimate>;

/// A column for every name that one of `methods` has among its `numbers`.
pub(super) fn columns(methods: &[MethodReport], numbers: Numbers) -> Vec<Column> {
    let names: BTreeSet<&String> = methods.iter().flat_map(|method| numbers(method).keys()).collect();
    let column = |name: &String| {
        let (title, name) = (name.clone(), name.clone());
        Column { title, of: Box::new(move |method| numbers(method).get(&name).copied()) }
    };
    names.into_iter().map(column).collect()
}

/// A table of `columns`, a row a method; nothing where no method has a number. `scored`: methods without one are left out.
fn section(page: &mut String, title: &str, methods: &[MethodReport], columns: &[Column], scored: bool) {
    let rows: Vec<&MethodReport> =
        methods.iter().filter(|method| !scored || columns.iter().any(|column| (column.of)(method).is_some())).collect();
    if columns.is_empty() || rows.is_empty() {
        return;
    }
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    let _ = writeln!(page, "## {title}\n\n| method | {} |\n|---|{}", titles.join(" | "), "---|".repeat(columns.len()));
    for method in rows {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| (column.of)(method).map_or_else(|| "–".to_owned(), |found| estimate(&found)))
            .collect();
        let _ = writeln!(page, "| {} | {} |", method.name, cells.join(" | "));
    }
    page.push('\n');
}

/// A mean and its interval, to three significant digits.
pub(super) fn estimate(found: &Estimate) -> String {
    if found.low == found.high {
        return number(found.mean);
    }
    format!("{} ({} … {})", number(found.mean), number(found.low), number(found.high))
}

/// Three significant digits.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size < 5e-7 {
        return "0".to_owned();
    }
    let decimals = match size {
        _ if size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ if size >= 0.001 => 3,
        _ => 6,
    };
    format!("{value:.decimals$}")
}

fn agreement(page: &mut String, report: &Report) {
    let found = &report.agreement;
    if found.names.len() < 2 {
        return;
    }
    let tables = [
        ("Agreement: mean Spearman correlation of the scores", &found.rank),
        ("Agreement: share of the top quarter in common (chance 0.25)", &found.top),
    ];
    for (title, table) in tables {
        let _ = writeln!(
            page,
            "## {title}\n\n| | {} |\n|---|{}",
            found.names.join(" | "),
            "---|".repeat(found.names.len())
        );
        for (name, row) in found.names.iter().zip(table) {
            let cells: Vec<String> =
                row.iter().map(|cell| cell.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))).collect();
            let _ = writeln!(page, "| {name} | {} |", cells.join(" | "));
        }
        page.push('\n');
    }
}

fn words(page: &mut String, report: &Report) {
    if report.words.is_empty() {
        return;
    }
    page.push_str("## Words that push a class\n\nMean score in the texts explained for the class; words of at least three texts.\n\n");
    page.push_str("| method | class | towards | away |\n|---|---|---|---|\n");
    let list = |pushes: &[super::report::Push]| {
        let words: Vec<String> = pushes
            .iter()
            .map(|push| format!("{} {}", push.word.replace('|', "\\|"), number(push.score.mean)))
            .collect();
        words.join(", ")
    };
    for pushes in &report.words {
        let (towards, away) = (list(&pushes.towards), list(&pushes.away));
        let _ = writeln!(page, "| {} | {} | {towards} | {away} |", pushes.method, pushes.class);
    }
    page.push('\n');
}

fn failures(page: &mut String, methods: &[MethodReport]) {
    let failed: Vec<_> = methods.iter().filter(|method| !method.failed.is_empty()).collect();
    if failed.is_empty() {
        return;
    }
    page.push_str("## Not explained\n\n");
    for method in failed {
        for (reason, count) in &method.failed {
            let _ = writeln!(page, "- {}: {count} items: {reason}", method.name);
        }
    }
}
