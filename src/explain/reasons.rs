//! Reason codes: the units that spoke most for the target and most against it, in sentences of a fixed form.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Explanation;
use crate::input::Input;
use crate::input::units::Units;
use crate::methods::METHODS;
use crate::methods::support::naming;
use crate::methods::support::parts::{Parts, setting};
use crate::numerics::ranking;

/// Reasons of each direction at most.
pub const MOST: usize = 100;

/// Which way a unit pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    For,
    Against,
}

/// A unit that spoke for the target or against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// From 1, the foremost, in each direction.
    pub rank: usize,
    pub direction: Direction,
    /// First Unicode character of the unit in the text as sent; null for images.
    pub start: Option<usize>,
    /// Character after the last.
    pub end: Option<usize>,
    /// With a pair: which text (0 or 1). Absent without a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<usize>,
    /// As in the explanation's list.
    pub score: f32,
    /// `"gripping" spoke for POSITIVE (+0.3120).`
    pub text: String,
}

/// The `count` foremost units of each direction: first those for the target, then those against it. Units of score 0 are
/// in neither. None where scores have no sign: of methods that only say how much a unit matters, and with `absolute`.
pub(super) fn of(explanation: &Explanation, input: &Input, count: usize) -> Vec<Reason> {
    let auto = explanation.attribution.auto.as_deref();
    let (name, settings) = match auto {
        Some(auto) => (&auto.chosen, &auto.settings),
        None => (&explanation.method, &explanation.settings),
    };
    let signed = METHODS.iter().any(|method| method.name() == name && method.signed());
    let absolute = setting(settings, "absolute").unwrap_or(false);
    let (Some(target), true) = (&explanation.target, signed && !absolute) else { return Vec::new() };
    let Some(parts) = Parts::of(&explanation.attribution, settings, input) else { return Vec::new() };
    let label = target.to_string();
    let order = ranking::descending(&parts.scores);
    let towards = order.iter().copied().filter(|&unit| parts.scores[unit] > 0.0).take(count);
    let mut away: Vec<usize> = (0..parts.scores.len()).filter(|&unit| parts.scores[unit] < 0.0).collect();
    away.sort_by(|&a, &b| parts.scores[a].total_cmp(&parts.scores[b]));
    let reason = |direction| {
        let (label, parts) = (&label, &parts);
        move |(place, unit): (usize, usize)| {
            reason(input, &parts.units, unit, parts.scores[unit], label, (place + 1, direction))
        }
    };
    let towards: Vec<Reason> = towards.enumerate().map(reason(Direction::For)).collect();
    let away = away.into_iter().take(count).enumerate().map(reason(Direction::Against));
    towards.into_iter().chain(away).collect()
}

fn reason(
    input: &Input,
    units: &Units,
    unit: usize,
    score: f64,
    label: &str,
    (rank, direction): (usize, Direction),
) -> Reason {
    let place = input.as_text().and_then(|text| naming::place(text, units, unit));
    let paired = input.as_text().is_some_and(|text| text.pair.is_some());
    let said = match direction {
        Direction::For => "spoke for",
        Direction::Against => "spoke against",
    };
    Reason {
        rank,
        direction,
        start: place.as_ref().map(|(_, place)| place.start),
        end: place.as_ref().map(|(_, place)| place.end),
        sequence: place.as_ref().map(|(sequence, _)| *sequence).filter(|_| paired),
        score: score as f32,
        text: format!("{} {said} {label} ({score:+.4}).", naming::name(input, units, unit)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::methods::support::fake::{self, Fake};
    use crate::methods::{Attribution, Scores};

    fn explanation(method: &str, words: Vec<f32>, settings: serde_json::Value) -> Explanation {
        Explanation {
            method: method.to_owned(),
            target: Some(fake::target(1)),
            settings,
            attribution: Attribution {
                scores: Scores { words: Some(words), ..Scores::default() },
                ..Attribution::default()
            },
            faithfulness: None,
            reasons: None,
            elapsed_ms: 0.0,
        }
    }

    #[test]
    fn both_directions_by_size() {
        let found = of(&explanation("lime", vec![0.5, -0.25, 0.0, 1.0, -2.0], json!({})), &Fake::text(5).input, 1);
        let sentences: Vec<&str> = found.iter().map(|reason| reason.text.as_str()).collect();
        assert_eq!(sentences, ["\"w3\" spoke for YES (+1.0000).", "\"w4\" spoke against YES (-2.0000)."]);
        assert_eq!(
            (found[0].rank, found[0].start, found[0].end, found[0].direction),
            (1, Some(9), Some(11), Direction::For)
        );
        let all = of(&explanation("lime", vec![0.5, -0.25, 0.0, 1.0, -2.0], json!({})), &Fake::text(5).input, 9);
        assert_eq!(all.iter().map(|reason| reason.rank).collect::<Vec<_>>(), [1, 2, 1, 2]);
    }

    #[test]
    fn scores_without_a_sign_are_no_reasons() {
        let input = Fake::text(2).input;
        assert!(of(&explanation("gradient", vec![0.5, 1.0], json!({})), &input, 2).is_empty());
        assert!(of(&explanation("lime", vec![0.5, 1.0], json!({"absolute": true})), &input, 2).is_empty());
        let empty = of(&explanation("lime", Vec::new(), json!({})), &Fake::text(0).input, 2);
        assert!(empty.is_empty());
    }
}
