//! An answer as one HTML page.

use std::fmt::Write as _;

use super::RenderError;
use super::chart::Chart;
use super::colour::diverging;
use super::findings;
use super::heat;
use super::page::Page;
use super::scored::{self, ScoreMap, Unit, escaped};
use crate::explain::outcome::InputView;
use crate::explain::{Answer, Explanation};

const STYLE: &str = "\
.quality, .model { color: #555; font-size: 0.9rem; }
.words { line-height: 2; overflow-wrap: anywhere; } .words span { padding: 0.15em 0.1em; border-radius: 0.2em; }
figure { display: inline-block; margin: 0 1rem 1rem 0; } figcaption { font-size: 0.9rem; color: #555; }
table { border-collapse: collapse; font-size: 0.9rem; } td, th { padding: 0.1rem 0.8rem 0.1rem 0; text-align: left; }
td.score { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f5f5f5; padding: 0.8rem; overflow: auto; }
.scale { width: 20rem; max-width: 100%; height: 0.6rem; background: linear-gradient(to right, #2166ac, #92c5de, #ffffff, #f4a582, #b2182b); }
";

/// Width of a chart.
const CHART: usize = 640;

/// Draws `answer`; `image` are the bytes of an image as sent.
pub fn html(answer: &Answer, image: Option<&[u8]>) -> Result<String, RenderError> {
    let original = match &answer.input {
        InputView::Text(_) => None,
        InputView::Image(_) => Some(heat::original(image.ok_or(RenderError::MissingImage)?)?),
    };
    let title = format!("{}: {}", answer.model.name, scored::predicted_name(answer));
    let mut page = String::new();
    let _ = writeln!(page, "<h1>{}</h1>", escaped(&scored::prediction(answer, 5)));
    let _ = writeln!(page, "<p class=\"model\">{}</p>", escaped(&scored::model(answer)));
    if let Some(picture) = &original {
        let _ = writeln!(page, "<figure><img alt=\"the image\" src=\"{}\"></figure>", heat::data_uri(picture)?);
    }
    for explanation in answer.explanations.iter().flatten() {
        section(&mut page, answer, explanation, original.as_ref())?;
    }
    if !answer.warnings.is_empty() {
        page.push_str("<h2>Warnings</h2>\n<ul>\n");
        for warning in &answer.warnings {
            let _ = writeln!(page, "<li><code>{}</code>: {}</li>", escaped(&warning.code), escaped(&warning.detail));
        }
        page.push_str("</ul>\n");
    }
    let version = escaped(&answer.provenance.version);
    let _ = writeln!(page, "<p class=\"model\">explaind {version}, request {}</p>", escaped(&answer.id));
    Ok(Page { title: &title, width: 60, pictures: true, style: STYLE }.around(&page))
}

fn section(
    page: &mut String,
    answer: &Answer,
    explanation: &Explanation,
    original: Option<&image::RgbImage>,
) -> Result<(), RenderError> {
    let _ = writeln!(page, "<h2>{}</h2>", escaped(&scored::title(explanation)));
    let _ = writeln!(page, "<p class=\"quality\">{}</p>", escaped(&scored::quality(explanation)));
    found(page, explanation);
    match (&answer.input, original) {
        (InputView::Text(view), _) => {
            let units = scored::units(view, explanation);
            if !units.is_empty() {
                words(page, &units);
            }
        }
        (InputView::Image(view), Some(original)) => {
            if let Some(map) = ScoreMap::of(explanation)? {
                let uri = heat::data_uri(&heat::overlay(original, view, &map))?;
                let scale = scored::scale(map.values.iter().copied());
                let (low, high) = (scored::signed(-scale), scored::signed(scale));
                let _ = writeln!(
                    page,
                    "<figure><img alt=\"heat map\" src=\"{uri}\"><div class=\"scale\"></div><figcaption>{low} (blue) to \
                     {high} (red)</figcaption></figure>"
                );
            }
        }
        (InputView::Image(_), None) => {}
    }
    if let Some(chart) = Chart::of(explanation, CHART) {
        let (width, height) = (chart.width, chart.height);
        let _ = writeln!(
            page,
            "<figure><svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\">\n{}</svg></figure>",
            chart.shapes((0, 0))
        );
    }
    let settings = serde_json::to_string_pretty(&explanation.settings).unwrap_or_default();
    let _ = writeln!(page, "<details><summary>settings</summary><pre>{}</pre></details>", escaped_lines(&settings));
    Ok(())
}

/// What was found beside scores.
fn found(page: &mut String, explanation: &Explanation) {
    let lines = findings::lines(explanation);
    if !lines.is_empty() {
        page.push_str("<ul>\n");
        for line in lines {
            let _ = writeln!(page, "<li>{}</li>", escaped(&line));
        }
        page.push_str("</ul>\n");
    }
    if let Some(png) = findings::picture(explanation) {
        let png = escaped(png);
        let _ = writeln!(
            page,
            "<figure><img alt=\"the changed image\" src=\"data:image/png;base64,{png}\"><figcaption>the changed image, as \
             the model sees it</figcaption></figure>"
        );
    }
}

/// The text on its shades, then every unit with its score.
fn words(page: &mut String, units: &[Unit<'_>]) {
    let scale = scored::scale(units.iter().map(|unit| unit.score));
    page.push_str("<p class=\"words\">");
    for unit in units {
        page.push_str(if unit.second_text {
            "<br>\n"
        } else if unit.gap {
            " "
        } else {
            ""
        });
        let shade = diverging(unit.score / scale);
        let _ = write!(
            page,
            "<span style=\"background:{};color:{}\" title=\"{}\">{}</span>",
            shade.hex(),
            shade.ink().hex(),
            scored::signed(unit.score),
            escaped(unit.text)
        );
    }
    page.push_str("</p>\n<details><summary>scores</summary><table>\n<tr><th>unit</th><th>score</th></tr>\n");
    for unit in units {
        let score = scored::signed(unit.score);
        let _ = writeln!(page, "<tr><td>{}</td><td class=\"score\">{score}</td></tr>", escaped(unit.text));
    }
    page.push_str("</table></details>\n");
}

/// Escaped, with its own line breaks kept.
fn escaped_lines(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}
