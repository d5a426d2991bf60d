//! Plots of a report as inline SVG: bars with intervals, lines over steps, a matrix of pairs, points of cost and quality.

use std::fmt::Write as _;

use super::markdown::number;
use super::statistics::Estimate;
use crate::render::{escaped, shade};

const WIDTH: f64 = 720.0;
/// Where bars and points begin: names stand left of it.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 80.0;
const LINE: f64 = 20.0;
/// Okabe and Ito's colours, which colour-blind readers tell apart; repeated with another dash.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333"];
const DASHES: [&str; 4] = ["", "6 3", "2 3", "8 3 2 3"];

fn document(height: f64, title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\">\n<title>{title}</title>\n<rect width=\"100%\" \
         height=\"100%\" fill=\"#fff\"/>\n<text x=\"8\" y=\"18\" font-weight=\"bold\" font-size=\"13\">{title}</text>\n{body}</svg>\n"
    )
}

/// A place on an axis from `low` to `high`.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let share = if self.high > self.low { (value - self.low) / (self.high - self.low) } else { 0.5 };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }
}

/// A bar a name with its interval, the value beside it.
pub(super) fn bars(title: &str, rows: &[(&str, Estimate)]) -> String {
    let low = rows.iter().map(|(_, found)| found.low.min(found.mean)).fold(0.0, f64::min);
    let high = rows.iter().map(|(_, found)| found.high.max(found.mean)).fold(0.0, f64::max);
    let axis = Axis { low, high, from: LEFT, to: WIDTH - RIGHT };
    let zero = axis.at(0.0);
    let mut body = String::new();
    for (row, (name, found)) in rows.iter().enumerate() {
        let top = 30.0 + row as f64 * LINE;
        let (middle, text) = (top + 8.0, top + 12.0);
        let (end, from, to) = (axis.at(found.mean), axis.at(found.low), axis.at(found.high));
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
             height=\"12\" fill=\"#92c5de\"/><path d=\"M{from:.1} {middle:.1}H{to:.1}\" stroke=\"#222\"/><text x=\"{:.1}\" \
             y=\"{text:.1}\">{}</text>",
            LEFT - 8.0,
            escaped(name),
            zero.min(end),
            top + 2.0,
            (end - zero).abs(),
            to.max(end).max(zero) + 6.0,
            number(found.mean),
        );
    }
    let bottom = 30.0 + rows.len() as f64 * LINE;
    let _ = writeln!(body, "<path d=\"M{zero:.1} 28V{bottom:.1}\" stroke=\"#888\"/>");
    document(bottom + 8.0, title, &body)
}

/// A line a name over `steps`; the names stand in a legend on the right.
pub(super) fn lines(title: &str, steps: &[String], rows: &[(&str, Vec<Option<f64>>)]) -> String {
    let values = || rows.iter().flat_map(|(_, values)| values.iter().flatten().copied());
    let (low, high) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let height = (60.0 + rows.len() as f64 * 16.0).max(300.0);
    let across = Axis { low: 0.0, high: steps.len().saturating_sub(1) as f64, from: 60.0, to: WIDTH - 220.0 };
    let up = Axis { low, high, from: height - 40.0, to: 34.0 };
    let mut body = String::new();
    for value in [low, 0.0, (low + high) / 2.0, high] {
        let y = up.at(value);
        let _ = writeln!(
            body,
            "<path d=\"M60 {y:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"54\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - 220.0,
            y + 4.0,
            number(value)
        );
    }
    // Where many steps would write over each other, every second or third is named.
    let every = steps.len().div_ceil(8).max(1);
    for (index, step) in steps.iter().enumerate().filter(|(index, _)| index % every == 0) {
        let (x, y) = (across.at(index as f64), height - 20.0);
        let _ = writeln!(body, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>", escaped(step));
    }
    for (row, (name, values)) in rows.iter().enumerate() {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .filter_map(|(index, value)| Some(format!("{:.1},{:.1}", across.at(index as f64), up.at((*value)?))))
            .collect();
        let (colour, dash) = (COLOURS[row % COLOURS.len()], DASHES[row / COLOURS.len() % DASHES.len()]);
        let y = 40.0 + row as f64 * 16.0;
        let _ = writeln!(
            body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" stroke-dasharray=\"{dash}\"/>\
             <path d=\"M{:.1} {y:.1}h24\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/><text \
             x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            points.join(" "),
            WIDTH - 205.0,
            WIDTH - 176.0,
            y + 4.0,
            escaped(name)
        );
    }
    document(height, title, &body)
}

/// A cell a pair, shaded from −1 (blue) to 1 (red).
pub(super) fn matrix(title: &str, names: &[String], cells: &[Vec<Option<f64>>]) -> String {
    let side = ((WIDTH - LEFT - 8.0) / names.len().max(1) as f64).min(34.0);
    let top = 46.0;
    let mut body = String::new();
    for (row, (name, cells)) in names.iter().zip(cells).enumerate() {
        let y = top + row as f64 * side;
        let text = y + side / 2.0 + 4.0;
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{} {}</text><text x=\"{:.1}\" y=\"40\" \
             text-anchor=\"middle\">{}</text>",
            LEFT - 8.0,
            escaped(name),
            row + 1,
            LEFT + (row as f64 + 0.5) * side,
            row + 1
        );
        for (col, value) in cells.iter().enumerate() {
            let x = LEFT + col as f64 * side;
            let (fill, ink) = value.map_or(("#eeeeee".to_owned(), "#000000".to_owned()), |value| shade(value as f32));
            let label = value.map_or_else(|| "–".to_owned(), short);
            let _ = writeln!(
                body,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" fill=\"{fill}\" \
                 stroke=\"#fff\"/><text x=\"{:.1}\" y=\"{text:.1}\" font-size=\"10\" fill=\"{ink}\" \
                 text-anchor=\"middle\">{label}</text>",
                x + side / 2.0
            );
        }
    }
    document(top + names.len() as f64 * side + 8.0, title, &body)
}

/// Two decimals without the 0 before them: many columns leave a cell little room.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    match text.strip_prefix("-0").or(text.strip_prefix('0')) {
        Some(_) if text == "0.00" || text == "-0.00" => "0".to_owned(),
        Some(rest) if value < 0.0 => format!("−{rest}"),
        Some(rest) => rest.to_owned(),
        None => format!("{value:.0}"),
    }
}

/// A point a name: its cost (on a logarithmic axis) against its quality.
pub(super) fn points(title: &str, across: &str, up: &str, rows: &[(&str, f64, f64)]) -> String {
    let (height, floor) = (420.0, 1e-4);
    let cost = |value: f64| value.max(floor).log10();
    let ends = |values: Vec<f64>| {
        (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    };
    let (left, right) = ends(rows.iter().map(|(_, value, _)| cost(*value)).collect());
    let (low, high) = ends(rows.iter().map(|(_, _, value)| *value).collect());
    let x = Axis { low: left, high: right, from: 80.0, to: WIDTH - 180.0 };
    let y = Axis { low, high, from: height - 60.0, to: 44.0 };
    let mut body = format!(
        "<path d=\"M60 34V{:.1}H{:.1}\" fill=\"none\" stroke=\"#888\"/><text x=\"{:.1}\" y=\"{:.1}\" \
         text-anchor=\"middle\">{} (logarithmic: {} to {})</text><text x=\"20\" y=\"{:.1}\" transform=\"rotate(-90 20 {:.1})\" \
         text-anchor=\"middle\">{} ({} to {})</text>\n",
        height - 40.0,
        WIDTH - 20.0,
        WIDTH / 2.0,
        height - 16.0,
        escaped(across),
        number(10_f64.powf(left)),
        number(10_f64.powf(right)),
        height / 2.0,
        height / 2.0,
        escaped(up),
        number(low),
        number(high),
    );
    // Labels that would lie over each other are moved down, from the top.
    let mut placed: Vec<(f64, f64)> = Vec::new();
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| b.2.total_cmp(&a.2));
    for (name, value, quality) in sorted {
        let (px, py) = (x.at(cost(value)), y.at(quality));
        let mut label = py + 4.0;
        while placed.iter().any(|(x, y)| (x - px).abs() < 130.0 && (y - label).abs() < 12.0) {
            label += 6.0;
        }
        placed.push((px, label));
        let _ = writeln!(
            body,
            "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"4\" fill=\"#0072b2\"/><text x=\"{:.1}\" y=\"{label:.1}\">{}</text>",
            px + 8.0,
            escaped(name)
        );
    }
    document(height, title, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_short() {
        let shown = [0.854, -0.12, 0.0, -0.001, 1.0, -1.0, 0.999].map(short);
        assert_eq!(shown, [".85", "−.12", "0", "0", "1", "-1", "1"]);
    }

    #[test]
    fn names_are_escaped_and_nothing_is_no_number() {
        let found = Estimate { mean: 0.5, low: 0.4, high: 0.6, n: 3 };
        let drawn = bars("a < b", &[("<x>", found)]);
        assert!(drawn.contains("&lt;x&gt;") && drawn.contains("a &lt; b") && !drawn.contains("NaN"), "{drawn}");
        let names = ["a", "b"].map(str::to_owned);
        for drawn in [
            bars("empty", &[]),
            lines("one step", &names[..1], &[("a", vec![Some(1.0)]), ("b", vec![None])]),
            lines("none", &[], &[]),
            matrix("pairs", &names, &[vec![Some(1.0), None], vec![None, Some(-1.0)]]),
            points("one", "seconds", "quality", &[("a", 0.0, 0.0)]),
        ] {
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
            assert_eq!(drawn.matches("<svg").count(), 1);
        }
    }
}
