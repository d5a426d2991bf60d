//! What lies inside a model, drawn: the units that stand out as bars, what each layer would answer as a grid of layers
//! and their likeliest classes. A chart is rectangles and lines of text in cells of one size, which SVG and PNG both
//! draw.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::colour::{Rgb, diverging};
use super::findings;
use super::scored::{self, escaped, signed};
use crate::explain::Explanation;
use crate::methods::LensLayer;

/// Width of a character's cell and height of a line, in pixels.
pub(super) const CELL: (usize, usize) = (8, 20);
/// Units and classes that are drawn; the answer has all of them.
const BARS: usize = 40;
const CLASSES: usize = 5;
/// Characters of a bar's number, and those that a class needs.
const NUMBER: usize = 10;
const CLASS: usize = 12;
const GAP: usize = 2;

pub(super) struct Chart {
    pub width: usize,
    pub height: usize,
    pub rectangles: Vec<Rectangle>,
    pub texts: Vec<Text>,
}

pub(super) struct Rectangle {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
    pub colour: Rgb,
}

/// A line whose cells begin at `x`, `y`.
pub(super) struct Text {
    pub x: usize,
    pub y: usize,
    pub line: String,
    pub ink: Rgb,
}

impl Chart {
    /// `None` where the explanation is of nothing inside the model.
    pub(super) fn of(explanation: &Explanation, width: usize) -> Option<Self> {
        let attribution = &explanation.attribution;
        let mut chart = Self { width, height: 0, rectangles: Vec::new(), texts: Vec::new() };
        match (&attribution.neurons, &attribution.layers) {
            (Some(_), _) => {
                let activation = explanation.settings.get("measure").is_some_and(|measure| measure == "activation");
                chart.bars(&findings::neurons(explanation), activation);
            }
            (_, Some(layers)) => chart.grid(layers),
            _ => return None,
        }
        Some(chart)
    }

    fn line(&mut self, x: usize, line: String, ink: Rgb) {
        self.texts.push(Text { x, y: self.height, line, ink });
    }

    fn caption(&mut self, line: &str) {
        self.line(0, fitted(line, self.width / CELL.0).trim_end().to_owned(), GREY);
        self.height += CELL.1;
    }

    /// A bar a unit from the line where nothing is.
    fn bars(&mut self, units: &[(String, f32)], activation: bool) {
        self.caption(if activation { "activation of units" } else { "influence of units" });
        let shown = units.get(..BARS).unwrap_or(units);
        let name = shown.iter().map(|(name, _)| name.width() + 1).max().unwrap_or(0).min(self.width / CELL.0 / 2);
        let from = (name + NUMBER) * CELL.0;
        let room = self.width.saturating_sub(from).max(1) as f32;
        let low = shown.iter().map(|(_, value)| *value).fold(0.0, f32::min);
        let high = shown.iter().map(|(_, value)| *value).fold(0.0, f32::max);
        let span = if high > low { high - low } else { 1.0 };
        let at = |value: f32| from + ((value - low) / span * room).round() as usize;
        for (unit, value) in shown {
            let (left, right) = (at(value.min(0.0)), at(value.max(0.0)));
            let (x, y, width) = (left, self.height + GAP, (right - left).max(1));
            let colour = diverging(if *value < 0.0 { -0.75 } else { 0.75 });
            self.rectangles.push(Rectangle { x, y, width, height: CELL.1 - 2 * GAP, colour });
            self.line(0, fitted(unit, name), Rgb::BLACK);
            self.line(name * CELL.0, format!("{:>9}", signed(*value)), Rgb::BLACK);
            self.height += CELL.1;
        }
        self.rest(units.len().saturating_sub(shown.len()), "units");
    }

    /// A row a layer, its likeliest classes side by side.
    fn grid(&mut self, layers: &[LensLayer]) {
        self.caption("what each layer answers, likeliest first");
        let names: Vec<String> = layers.iter().map(|layer| format!("layer {}", layer.layer)).collect();
        let name = names.iter().map(|name| name.width() + 1).max().unwrap_or(0);
        let room = self.width.saturating_sub(name * CELL.0);
        let most = layers.iter().map(|layer| layer.scores.len()).max().unwrap_or(0);
        let count = most.min(CLASSES).min(room / (CLASS * CELL.0)).max(1);
        let side = room / count / CELL.0 * CELL.0;
        let largest = scored::scale(layers.iter().flat_map(|layer| &layer.scores).map(|score| score.logit));
        for (layer, text) in layers.iter().zip(names) {
            self.line(0, text, Rgb::BLACK);
            for (column, score) in scored::ranked(&layer.scores).into_iter().take(count).enumerate() {
                let x = name * CELL.0 + column * side;
                let colour = diverging(score.probability.unwrap_or(score.logit / largest));
                let (y, width) = (self.height, side.saturating_sub(GAP));
                self.rectangles.push(Rectangle { x, y, width, height: CELL.1 - GAP, colour });
                let number = score.probability.map_or_else(|| signed(score.logit), |value| format!("{value:.2}"));
                let label = fitted(&score.label, (side / CELL.0).saturating_sub(number.len() + 2));
                self.line(x + CELL.0 / 2, format!("{label} {number}"), colour.ink());
            }
            self.height += CELL.1;
        }
    }

    fn rest(&mut self, count: usize, what: &str) {
        if count > 0 {
            self.caption(&format!("… and {count} more {what}"));
        }
    }

    /// Shapes of an SVG whose upper left corner is `x`, `y`.
    pub(super) fn shapes(&self, (left, top): (usize, usize)) -> String {
        let mut out = String::new();
        for Rectangle { x, y, width, height, colour } in &self.rectangles {
            let _ = writeln!(
                out,
                "<rect x=\"{}\" y=\"{}\" width=\"{width}\" height=\"{height}\" fill=\"{}\"/>",
                left + x,
                top + y,
                colour.hex()
            );
        }
        for Text { x, y, line, ink } in &self.texts {
            // The given length keeps the text in its cells, whatever font the viewer has.
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" font-size=\"13\" fill=\"{}\" textLength=\"{}\" \
                 lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\">{}</text>",
                left + x,
                top + y + CELL.1 - 6,
                ink.hex(),
                line.width() * CELL.0,
                escaped(line)
            );
        }
        out
    }
}

const GREY: Rgb = Rgb(85, 85, 85);

/// `text` in exactly `width` cells.
fn fitted(text: &str, width: usize) -> String {
    let text = scored::harmless(text);
    let mut out = String::new();
    let mut used = 0;
    let cut = text.width() > width;
    for c in text.chars() {
        let own = c.width().unwrap_or(0);
        if used + own + usize::from(cut) > width {
            break;
        }
        out.push(c);
        used += own;
    }
    if cut && used < width {
        out.push('…');
        used += 1;
    }
    out.extend(std::iter::repeat_n(' ', width - used));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_their_cells() {
        assert_eq!(
            (fitted("ab", 4), fitted("abcdef", 4), fitted("東京都", 4)),
            ("ab  ".into(), "abc…".into(), "東… ".into())
        );
        assert_eq!((fitted("abc", 0), fitted("abc", 1)), (String::new(), "…".into()));
    }
}
