//! An answer as one SVG picture: a text's words on their shades, or an image's heat maps side by side.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::chart::Chart;
use super::colour::{STOPS, diverging};
use super::heat;
use super::scored::{self, ScoreMap, Unit, escaped};
use super::{RenderError, heat::SIDE};
use crate::explain::outcome::{ImageView, InputView, TextView};
use crate::explain::{Answer, Explanation};

const MARGIN: usize = 16;
/// Width of a column and height of a line of the monospaced text, in pixels at 15 px.
const CELL: (usize, usize) = (9, 24);
/// Width of a chart under a text.
const CHART: usize = 640;
/// Columns of a text's lines.
const COLUMNS: usize = 88;

/// Draws `answer`; `image` are the bytes of an image as sent.
pub fn svg(answer: &Answer, image: Option<&[u8]>) -> Result<String, RenderError> {
    match &answer.input {
        InputView::Text(view) => Ok(of_text(answer, view)),
        InputView::Image(view) => of_image(answer, view, image.ok_or(RenderError::MissingImage)?),
    }
}

fn document(width: usize, height: usize, title: &str, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
         {height}\" font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"15\">\n<title>{}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n",
        escaped(title)
    )
}

fn of_text(answer: &Answer, view: &TextView) -> String {
    let mut page = Page { body: String::new(), line: 0, column: 0, widest: 0 };
    let heading = format!("{}: {}", answer.model.name, scored::prediction(answer, 3));
    page.line(&heading, "font-weight=\"bold\"");
    for explanation in answer.explanations.iter().flatten() {
        page.line += 1;
        page.line(&scored::title(explanation), "font-weight=\"bold\"");
        page.line(&scored::quality(explanation), "fill=\"#555555\" font-size=\"12\"");
        match Chart::of(explanation, CHART) {
            Some(chart) => page.chart(&chart),
            None => page.words(&scored::units(view, explanation)),
        }
    }
    document(2 * MARGIN + page.widest.min(COLUMNS) * CELL.0, 2 * MARGIN + page.line * CELL.1, &heading, &page.body)
}

struct Page {
    body: String,
    line: usize,
    column: usize,
    /// Columns of the longest line so far.
    widest: usize,
}

impl Page {
    /// Left edge, top edge and baseline of the place where the next text goes.
    fn place(&self) -> (usize, usize, usize) {
        let top = MARGIN + self.line * CELL.1;
        (MARGIN + self.column * CELL.0, top, top + CELL.1 - 8)
    }

    fn line(&mut self, text: &str, attributes: &str) {
        let (x, _, y) = self.place();
        let _ = writeln!(self.body, "<text x=\"{x}\" y=\"{y}\" {attributes}>{}</text>", escaped(text));
        self.widest = self.widest.max(text.width());
        self.line += 1;
    }

    fn chart(&mut self, chart: &Chart) {
        let (x, y, _) = self.place();
        self.body.push_str(&chart.shapes((x, y)));
        self.widest = self.widest.max(chart.width.div_ceil(CELL.0));
        self.line += chart.height.div_ceil(CELL.1);
    }

    fn words(&mut self, units: &[Unit<'_>]) {
        let scale = scored::scale(units.iter().map(|unit| unit.score));
        for unit in units {
            let width = unit.text.width();
            let gap = usize::from(unit.gap && self.column > 0);
            if unit.second_text || (self.column > 0 && self.column + gap + width > COLUMNS) {
                self.line += 1;
                self.column = 0;
            } else {
                self.column += gap;
            }
            self.word(unit, width, unit.score / scale);
            self.column += width;
            self.widest = self.widest.max(self.column);
        }
        self.line += 1;
        self.column = 0;
    }

    fn word(&mut self, unit: &Unit<'_>, width: usize, strength: f32) {
        let (x, top, y) = self.place();
        let shade = diverging(strength);
        let pixels = width.max(1) * CELL.0;
        // The given length keeps every word on its rectangle, whatever font the viewer has.
        let _ = writeln!(
            self.body,
            "<g><title>{} {}</title><rect x=\"{x}\" y=\"{top}\" width=\"{pixels}\" height=\"{}\" fill=\"{}\"/><text \
             x=\"{x}\" y=\"{y}\" fill=\"{}\" textLength=\"{pixels}\" lengthAdjust=\"spacingAndGlyphs\">{}</text></g>",
            escaped(unit.text),
            scored::signed(unit.score),
            CELL.1 - 2,
            shade.hex(),
            shade.ink().hex(),
            escaped(unit.text),
        );
    }
}

fn of_image(answer: &Answer, view: &ImageView, bytes: &[u8]) -> Result<String, RenderError> {
    let original = heat::original(bytes)?;
    let mut body = gradient();
    panel(&mut body, 0, &original, &answer.model.name, &scored::predicted(answer), None)?;
    let mut panels = 1;
    let mut tallest = original.height() as usize + 42;
    for explanation in answer.explanations.iter().flatten() {
        if let Some(chart) = Chart::of(explanation, SIDE as usize) {
            let x = MARGIN + panels * (SIDE as usize + MARGIN);
            titles(&mut body, x, &explanation.method, &subtitle(explanation));
            body.push_str(&chart.shapes((x, MARGIN + 2 * CELL.1)));
            tallest = tallest.max(chart.height);
            panels += 1;
            continue;
        }
        let Some(map) = ScoreMap::of(explanation)? else { continue };
        let picture = heat::overlay(&original, view, &map);
        let scale = scored::scale(map.values.iter().copied());
        let target = subtitle(explanation);
        panel(&mut body, panels, &picture, &explanation.method, &target, Some(scale))?;
        panels += 1;
    }
    if panels == 1 {
        return Err(RenderError::NothingToDraw);
    }
    let width = MARGIN + panels * (SIDE as usize + MARGIN);
    let height = 2 * MARGIN + 2 * CELL.1 + tallest;
    let heading = format!("{}: {}", answer.model.name, scored::prediction(answer, 3));
    Ok(document(width, height, &heading, &body))
}

fn subtitle(explanation: &Explanation) -> String {
    explanation.target.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// The legend's gradient, used by every panel.
fn gradient() -> String {
    let mut stops = String::from("<defs><linearGradient id=\"scale\">");
    for (index, colour) in STOPS.iter().enumerate() {
        let _ = write!(stops, "<stop offset=\"{}%\" stop-color=\"{}\"/>", index * 25, colour.hex());
    }
    stops + "</linearGradient></defs>\n"
}

fn titles(body: &mut String, x: usize, title: &str, subtitle: &str) {
    let _ = writeln!(
        body,
        "<text x=\"{x}\" y=\"{}\" font-weight=\"bold\">{}</text><text x=\"{x}\" y=\"{}\" font-size=\"12\">{}</text>",
        MARGIN + CELL.1 - 8,
        escaped(title),
        MARGIN + 2 * CELL.1 - 10,
        escaped(subtitle),
    );
}

fn panel(
    body: &mut String,
    index: usize,
    picture: &image::RgbImage,
    title: &str,
    subtitle: &str,
    scale: Option<f32>,
) -> Result<(), RenderError> {
    let x = MARGIN + index * (SIDE as usize + MARGIN);
    let top = MARGIN + 2 * CELL.1;
    let (width, height) = (picture.width(), picture.height() as usize);
    titles(body, x, title, subtitle);
    let uri = heat::data_uri(picture)?;
    let _ = writeln!(body, "<image x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" href=\"{uri}\"/>");
    if let Some(scale) = scale {
        let (bar, text) = (top + height + 8, top + height + 32);
        let (middle, right) = (x + SIDE as usize / 2, x + SIDE as usize);
        let _ = writeln!(
            body,
            "<rect x=\"{x}\" y=\"{bar}\" width=\"{SIDE}\" height=\"10\" fill=\"url(#scale)\"/><text x=\"{x}\" \
             y=\"{text}\" font-size=\"12\">{}</text><text x=\"{middle}\" y=\"{text}\" font-size=\"12\" \
             text-anchor=\"middle\">0</text><text x=\"{right}\" y=\"{text}\" font-size=\"12\" text-anchor=\"end\">{}</text>",
            scored::signed(-scale),
            scored::signed(scale),
        );
    }
    Ok(())
}
