//! A report as one HTML page that needs nothing else; its plots are inline SVG.

use std::fmt::Write as _;

use super::markdown::{Column, checks, columns, cost_columns, estimate, introduction, settings};
use super::plot;
use super::report::{MethodReport, Report};
use super::statistics::Estimate;
use crate::render::{Page, escaped};

const STYLE: &str = "\
table { border-collapse: collapse; font-size: 0.85rem; display: block; overflow-x: auto; }
td, th { padding: 0.1rem 0.8rem 0.1rem 0; text-align: left; white-space: nowrap; }
svg { max-width: 100%; height: auto; } li.in { margin-left: 1.5rem; }
";

/// Draws `report`.
pub fn html(report: &Report) -> String {
    let title = format!("Explanations of {}", report.run.model["name"].as_str().unwrap_or_default());
    let mut page = format!("<h1>{}</h1>\n", escaped(&title));
    let _ = writeln!(page, "<p>{}</p>", escaped(&introduction(report)));
    let settings = settings(report);
    if !settings.is_empty() {
        let _ = writeln!(page, "<p>Settings given: {}.</p>", escaped(&settings.join("; ")));
    }
    if let Some(accuracy) = &report.accuracy {
        let _ = writeln!(
            page,
            "<p>The predicted class is the label in {} of {} items.</p>",
            estimate(accuracy),
            accuracy.n
        );
    }
    let methods = &report.methods;
    section(&mut page, "Cost", methods, &cost_columns(), &["evaluations", "seconds"]);
    let faithfulness = columns(methods, |method| &method.faithfulness);
    let shown = ["aopc_comprehensiveness", "aopc_sufficiency", "deletion_auc", "insertion_auc"];
    section(&mut page, "Faithfulness", methods, &faithfulness, &shown);
    cost_and_quality(&mut page, methods);
    curves(&mut page, methods);
    let marks = columns(methods, |method| &method.marks);
    section(&mut page, "Against people's marks", methods, &marks, &["auprc", "token_f1", "pointing", "energy"]);
    let found = &report.agreement;
    if found.names.len() > 1 {
        page.push_str("<h2>Agreement</h2>\n");
        page.push_str(&plot::matrix("Mean Spearman correlation of the scores", &found.names, &found.rank));
        page.push_str(&plot::matrix("Share of the top quarter in common (chance 0.25)", &found.names, &found.top));
    }
    words(&mut page, report);
    if let Some(sanity) = &report.sanity {
        let rows: Vec<(&str, Vec<Option<f64>>)> = sanity
            .methods
            .iter()
            .filter(|method| method.follows_weights.is_some())
            .map(|method| {
                (method.name.as_str(), method.similarity.iter().map(|found| found.map(|found| found.mean)).collect())
            })
            .collect();
        page.push_str(&plot::lines(
            "Correlation with the model's own explanation, weights random from the head down",
            &sanity.steps,
            &rows,
        ));
    }
    checks(report).iter().for_each(|section| drawn(&mut page, section));
    failures(&mut page, methods);
    Page { title: &title, width: 72, pictures: false, style: STYLE }.around(&page)
}

/// A section of the report's Markdown: headings, tables, lists and paragraphs, which is all it is made of.
fn drawn(page: &mut String, section: &str) {
    let kind = |line: &str| match line.trim_start() {
        line if line.starts_with('|') => "table",
        line if line.starts_with("- ") => "ul",
        _ => "",
    };
    let mut open = "";
    for line in section.lines() {
        if kind(line) != open {
            if !open.is_empty() {
                let _ = writeln!(page, "</{open}>");
            }
            open = kind(line);
            if !open.is_empty() {
                let _ = writeln!(page, "<{open}>");
            }
        }
        let text = escaped(line.trim_start_matches(['#', '-', ' ']));
        let _ = match line.trim_start() {
            line if line.starts_with("|---") || line.is_empty() => Ok(()),
            line if line.starts_with('|') => writeln!(page, "<tr>{}</tr>", cells(line)),
            line if line.starts_with("## ") => writeln!(page, "<h2>{text}</h2>"),
            _ if line.starts_with("  - ") => writeln!(page, "<li class=\"in\">{text}</li>"),
            _ if open == "ul" => writeln!(page, "<li>{text}</li>"),
            _ => writeln!(page, "<p>{text}</p>"),
        };
    }
    if !open.is_empty() {
        let _ = writeln!(page, "</{open}>");
    }
}

/// A line of a table; a bar that belongs to a cell is escaped in Markdown.
fn cells(line: &str) -> String {
    let line = line.replace("\\|", "\u{0}");
    let cells = line.trim().trim_matches('|').split('|').map(|cell| escaped(&cell.trim().replace('\u{0}', "|")));
    let bold = |cell: String| match cell.strip_prefix("**").and_then(|cell| cell.strip_suffix("**")) {
        Some(cell) => format!("<b>{cell}</b>"),
        None => cell,
    };
    cells.map(|cell| format!("<td>{}</td>", bold(cell))).collect()
}

/// A table of all columns and bars of those `drawn`.
fn section(page: &mut String, title: &str, methods: &[MethodReport], columns: &[Column], drawn: &[&str]) {
    let rows: Vec<&MethodReport> =
        methods.iter().filter(|method| columns.iter().any(|column| (column.of)(method).is_some())).collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(page, "<h2>{title}</h2>");
    for column in columns.iter().filter(|column| drawn.contains(&column.title.as_str())) {
        let bars: Vec<(&str, Estimate)> =
            rows.iter().filter_map(|method| Some((method.name.as_str(), (column.of)(method)?))).collect();
        page.push_str(&plot::bars(&column.title, &bars));
    }
    page.push_str("<table>\n<tr><th>method</th>");
    columns.iter().for_each(|column| {
        let _ = write!(page, "<th>{}</th>", escaped(&column.title));
    });
    page.push_str("</tr>\n");
    for method in rows {
        let _ = write!(page, "<tr><td>{}</td>", escaped(&method.name));
        for column in columns {
            let cell = (column.of)(method).map_or_else(|| "–".to_owned(), |found| estimate(&found));
            let _ = write!(page, "<td>{cell}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn cost_and_quality(page: &mut String, methods: &[MethodReport]) {
    let name = "aopc_comprehensiveness";
    let rows: Vec<(&str, f64, f64)> = methods
        .iter()
        .filter_map(|method| {
            Some((method.name.as_str(), method.evaluations?.mean, method.faithfulness.get(name)?.mean))
        })
        .collect();
    if rows.len() > 1 {
        page.push_str(&plot::points("Faithfulness and cost", "evaluations", name, &rows));
    }
}

/// Comprehensiveness and sufficiency over the share of units taken.
fn curves(page: &mut String, methods: &[MethodReport]) {
    let Some(fractions) = methods.iter().find_map(|method| method.curves.get("fractions")) else { return };
    let steps: Vec<String> = fractions.iter().map(|fraction| format!("{:.0} %", 100.0 * fraction)).collect();
    for name in ["comprehensiveness", "sufficiency"] {
        let rows: Vec<(&str, Vec<Option<f64>>)> = methods
            .iter()
            .filter_map(|method| {
                let points = method.curves.get(name).filter(|points| points.len() == steps.len())?;
                Some((method.name.as_str(), points.iter().copied().map(Some).collect()))
            })
            .collect();
        if !rows.is_empty() {
            page.push_str(&plot::lines(&format!("{name} by share of the units"), &steps, &rows));
        }
    }
}

fn words(page: &mut String, report: &Report) {
    if report.words.is_empty() {
        return;
    }
    page.push_str("<h2>Words that push a class</h2>\n");
    for pushes in &report.words {
        let rows: Vec<(&str, Estimate)> = pushes
            .towards
            .iter()
            .chain(pushes.away.iter().rev())
            .map(|push| (push.word.as_str(), push.score))
            .collect();
        let title = format!("{}, explained class {}", pushes.method, pushes.class);
        let _ =
            writeln!(page, "<details><summary>{}</summary>\n{}</details>", escaped(&title), plot::bars(&title, &rows));
    }
}

fn failures(page: &mut String, methods: &[MethodReport]) {
    if methods.iter().all(|method| method.failed.is_empty()) {
        return;
    }
    page.push_str("<h2>Not explained</h2>\n<ul>\n");
    for method in methods {
        for (reason, count) in &method.failed {
            let _ = writeln!(page, "<li>{}: {count} items: {}</li>", escaped(&method.name), escaped(reason));
        }
    }
    page.push_str("</ul>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_become_headings_lists_and_tables() {
        let mut page = String::new();
        drawn(&mut page, "## A < b\n\nOne line.\n\n- x\n  - y\n\n| a | b |\n|---|---|\n| p\\|q | **fail** |\n");
        assert_eq!(
            page.replace('\n', ""),
            "<h2>A &lt; b</h2><p>One line.</p><ul><li>x</li><li class=\"in\">y</li></ul><table><tr><td>a</td><td>b</td></tr>\
             <tr><td>p|q</td><td><b>fail</b></td></tr></table>"
        );
    }
}
