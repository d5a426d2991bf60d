//! An answer for a terminal: words shaded by score, a table of the strongest units, the prediction, warnings.

use std::fmt::Write as _;

use anstyle::{Color, RgbColor, Style};
use unicode_width::UnicodeWidthStr;

use super::colour::{Rgb, diverging};
use super::findings;
use super::scored::{self, ScoreMap, Unit};
use crate::explain::outcome::InputView;
use crate::explain::{Answer, Explanation};

/// Rows of a table: what fits on a screen beside the rest.
const TABLE_ROWS: usize = 20;
/// Classes of the prediction's line.
const CLASSES: usize = 5;

/// What the terminal can show.
#[derive(Debug, Clone, Copy)]
pub struct TextOptions {
    /// Columns; lines are wrapped to it.
    pub width: usize,
    /// Shade with ANSI colours.
    pub colour: bool,
}

/// Draws `answer` as lines of text that end in a newline.
pub fn text(answer: &Answer, options: TextOptions) -> String {
    let mut page = Page { out: String::new(), width: options.width.max(40), colour: options.colour };
    page.line(&page.bold(&scored::harmless(&scored::model(answer))));
    page.line(&format!("prediction  {}", scored::harmless(&scored::prediction(answer, CLASSES))));
    for explanation in answer.explanations.iter().flatten() {
        page.line("");
        page.explanation(&answer.input, explanation);
    }
    if !answer.warnings.is_empty() {
        page.line("");
        page.line(&page.bold("warnings"));
        for warning in &answer.warnings {
            page.line(&format!("  {}: {}", warning.code, scored::harmless(&warning.detail)));
        }
    }
    page.out
}

struct Page {
    out: String,
    width: usize,
    colour: bool,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn bold(&self, text: &str) -> String {
        self.styled(text, Style::new().bold())
    }

    fn styled(&self, text: &str, style: Style) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn shaded(&self, text: &str, strength: f32) -> String {
        let background = diverging(strength);
        self.styled(text, Style::new().fg_color(Some(terminal(background.ink()))).bg_color(Some(terminal(background))))
    }

    fn explanation(&mut self, input: &InputView, explanation: &Explanation) {
        self.line(&self.bold(&scored::harmless(&scored::title(explanation))));
        self.line(&format!("  {}", scored::quality(explanation)));
        for line in findings::lines(explanation) {
            self.line(&format!("  {}", scored::harmless(&line)));
        }
        let neurons = findings::neurons(explanation);
        if !neurons.is_empty() {
            self.table(&neurons, scored::scale(neurons.iter().map(|(_, value)| *value)));
        }
        match input {
            InputView::Text(view) => {
                let units = scored::units(view, explanation);
                if !units.is_empty() {
                    self.units(&units);
                }
            }
            InputView::Image(_) => match ScoreMap::of(explanation) {
                Ok(_) => self.grid(explanation),
                Err(error) => self.line(&format!("  {error}")),
            },
        }
    }

    fn units(&mut self, units: &[Unit<'_>]) {
        let scale = scored::scale(units.iter().map(|unit| unit.score));
        self.running_text(units, scale);
        let mut rows: Vec<(String, f32)> = units.iter().map(|unit| (scored::harmless(unit.text), unit.score)).collect();
        rows.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        self.table(&rows, scale);
    }

    /// The input itself, every unit on its shade, wrapped at the page's width.
    fn running_text(&mut self, units: &[Unit<'_>], scale: f32) {
        let (mut line, mut column) = (String::from("  "), 2);
        for unit in units {
            let word = scored::harmless(unit.text);
            let width = word.width();
            let gap = usize::from(unit.gap && column > 2);
            if unit.second_text || (column > 2 && column + gap + width > self.width) {
                self.line(&line);
                (line, column) = (String::from("  "), 2);
            } else if gap > 0 {
                line.push(' ');
                column += 1;
            }
            line.push_str(&self.shaded(&word, unit.score / scale));
            column += width;
        }
        self.line(&line);
    }

    /// Names, scores and bars of the first rows.
    fn table(&mut self, rows: &[(String, f32)], scale: f32) {
        let shown = rows.get(..TABLE_ROWS).unwrap_or(rows);
        let name_width = shown.iter().map(|(name, _)| name.width()).max().unwrap_or(0).min(self.width / 3);
        let bar_width = self.width.saturating_sub(name_width + 14).min(40);
        for (name, score) in shown {
            let name = fitted(name, name_width);
            let bar = "█".repeat((score.abs() / scale * bar_width as f32).round() as usize);
            let bar = if self.colour {
                let end = terminal(diverging(score.signum() * 0.75));
                self.styled(&bar, Style::new().fg_color(Some(end)))
            } else {
                bar
            };
            self.line(&format!("  {name}  {:>8}  {bar}", scored::signed(*score)));
        }
        if rows.len() > shown.len() {
            self.line(&format!("  … and {} weaker", rows.len() - shown.len()));
        }
    }

    /// The grid as cells of shades, or without colour of sign and tenths of the largest score.
    fn grid(&mut self, explanation: &Explanation) {
        let Some(grid) = &explanation.attribution.scores.grid else { return };
        let scale = scored::scale(grid.iter().flatten().copied());
        for row in grid {
            let mut line = String::from("  ");
            for score in row {
                let strength = score / scale;
                if self.colour {
                    line.push_str(&self.shaded("  ", strength));
                } else {
                    line.push_str(&tenths(strength));
                }
            }
            self.line(&line);
        }
        let mut cells: Vec<(String, f32)> = Vec::new();
        for (r, row) in grid.iter().enumerate() {
            cells.extend(row.iter().enumerate().map(|(c, score)| (format!("row {r}, column {c}"), *score)));
        }
        cells.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        cells.truncate(5);
        self.table(&cells, scale);
    }
}

/// ` +9`, ` -3`, or `  ·` for less than half a tenth.
fn tenths(strength: f32) -> String {
    let tenth = (strength.abs() * 10.0).round().min(9.0);
    if tenth < 1.0 { "  ·".to_owned() } else { format!(" {}{tenth:.0}", if strength < 0.0 { '-' } else { '+' }) }
}

/// `name` in exactly `width` columns: padded, or cut with an ellipsis.
fn fitted(name: &str, width: usize) -> String {
    if name.width() <= width {
        return format!("{name}{}", " ".repeat(width - name.width()));
    }
    let mut cut = String::new();
    for c in name.chars() {
        if cut.width() + unicode_width::UnicodeWidthChar::width(c).unwrap_or(0) + 1 > width {
            break;
        }
        cut.push(c);
    }
    let _ = write!(cut, "…");
    let missing = width.saturating_sub(cut.width());
    cut + &" ".repeat(missing)
}

fn terminal(colour: Rgb) -> Color {
    Color::Rgb(RgbColor(colour.0, colour.1, colour.2))
}
