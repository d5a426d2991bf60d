//! What has changed since an earlier run: means, what is predicted, words that push, agreement. The runs are taken as
//! independent, so the spread of a difference is the root of the summed squares of both half-widths.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::report::{Agreement, Head, MethodReport, Push, Report, WordPushes};
use super::statistics::Estimate;

/// How far a number may be from itself once it was written and read.
const READ: f64 = 1e-12;
/// A change of a pair's agreement that is listed.
const AGREEMENT: f64 = 0.1;

/// What is read of an earlier report.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Earlier {
    pub run: Head,
    pub accuracy: Option<Estimate>,
    #[serde(default)]
    pub predicted: BTreeMap<String, Estimate>,
    pub methods: Vec<MethodReport>,
    pub agreement: Agreement,
    #[serde(default)]
    pub words: Vec<WordPushes>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// The earlier run.
    pub run: Head,
    /// What the two runs do not have in common: model, data, target, settings of methods, seed, version.
    pub differs: Vec<String>,
    pub numbers: Vec<Change>,
    pub words: Vec<WordChange>,
    /// Pairs of methods.
    pub agreement: Vec<PairChange>,
}

/// A mean, then and now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// None of what is the model's alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    pub name: String,
    pub before: Estimate,
    pub after: Estimate,
    pub change: f64,
    /// Half the width of the difference's interval.
    pub spread: f64,
    /// The interval does not hold 0.
    pub clear: bool,
}

/// A word that one of the runs lists, for a class. Null where the other run does not list it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WordChange {
    pub method: String,
    pub class: String,
    pub word: String,
    pub before: Option<f64>,
    pub after: Option<f64>,
    /// Both list it, and their intervals have nothing in common.
    pub clear: bool,
}

/// The mean rank correlation of two methods, then and now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairChange {
    pub methods: [String; 2],
    pub before: f64,
    pub after: f64,
}

impl Drift {
    pub fn of(earlier: &Earlier, report: &Report) -> Self {
        let mut numbers: Vec<Change> =
            change(None, "accuracy", earlier.accuracy, report.accuracy).into_iter().collect();
        for (label, after) in &report.predicted {
            let name = format!("share predicted {label}");
            numbers.extend(change(None, &name, earlier.predicted.get(label).copied(), Some(*after)));
        }
        for after in &report.methods {
            if let Some(before) = earlier.methods.iter().find(|before| before.name == after.name) {
                numbers.extend(of_method(before, after));
            }
        }
        Self {
            run: earlier.run.clone(),
            differs: differs(&earlier.run, &report.run),
            numbers,
            words: words(&earlier.words, &report.words),
            agreement: agreement(&earlier.agreement, &report.agreement),
        }
    }

    pub(super) fn markdown(&self) -> String {
        let run = &self.run;
        let mut page =
            format!("## Since an earlier run\n\n{} items of {}, explaind {}. ", run.items, run.data, run.version);
        match self.differs.as_slice() {
            [] => page.push_str("Both runs have the same model, data, methods, target and seed.\n\n"),
            differs => {
                let _ = writeln!(page, "Not the same in both runs: {}.\n", differs.join(", "));
            }
        }
        let clear: Vec<&Change> = self.numbers.iter().filter(|change| change.clear).collect();
        let _ = writeln!(
            page,
            "{} of {} means changed by more than their intervals allow for.\n",
            clear.len(),
            self.numbers.len()
        );
        if !clear.is_empty() {
            page.push_str("| | number | before | after | change |\n|---|---|---|---|---|\n");
        }
        for change in clear {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} ± {} |",
                change.method.as_deref().unwrap_or("model"),
                change.name,
                super::markdown::estimate(&change.before),
                super::markdown::estimate(&change.after),
                super::markdown::number(change.change),
                super::markdown::number(change.spread),
            );
        }
        self.word_lines(&mut page);
        if !self.agreement.is_empty() {
            let _ = writeln!(page, "\nPairs of methods whose rank correlation changed by {AGREEMENT} or more:\n");
        }
        for pair in &self.agreement {
            let [a, b] = &pair.methods;
            let _ = writeln!(page, "- {a}, {b}: {:.2} → {:.2}", pair.before, pair.after);
        }
        page.push('\n');
        page
    }

    /// Words that came, went or clearly moved, a line a method and class.
    fn word_lines(&self, page: &mut String) {
        let kinds: BTreeSet<(&str, &str)> =
            self.words.iter().map(|word| (word.method.as_str(), word.class.as_str())).collect();
        if !kinds.is_empty() {
            page.push_str("\nWords that push a class: new in the list, no longer in it, and clearly moved.\n\n");
            page.push_str("| method | class | new | gone | moved |\n|---|---|---|---|---|\n");
        }
        for (method, class) in kinds {
            let here = || self.words.iter().filter(move |word| word.method == method && word.class == class);
            let list = |pick: &dyn Fn(&WordChange) -> Option<String>| {
                here().filter_map(pick).collect::<Vec<_>>().join(", ").replace('|', "\\|")
            };
            let number = super::markdown::number;
            let new =
                list(&|word| Some(format!("{} {}", word.word, number(word.after.filter(|_| word.before.is_none())?))));
            let gone =
                list(&|word| Some(format!("{} {}", word.word, number(word.before.filter(|_| word.after.is_none())?))));
            let moved = list(&|word| {
                let text = format!("{} {} → {}", word.word, number(word.before?), number(word.after?));
                word.clear.then_some(text)
            });
            let _ = writeln!(page, "| {method} | {class} | {new} | {gone} | {moved} |");
        }
    }
}

fn differs(before: &Head, after: &Head) -> Vec<String> {
    let parts = [
        ("version", before.version != after.version),
        ("model", before.model["sha256"] != after.model["sha256"]),
        ("data", before.data_sha256 != after.data_sha256),
        ("methods", before.methods != after.methods),
        ("target", before.target != after.target),
        ("seed", before.seed != after.seed),
        ("what measuring may take", before.evaluate != after.evaluate),
        // Earlier versions kept none of these.
        ("limits", !before.limits.is_null() && before.limits != after.limits),
        ("precision", !before.precision.is_empty() && before.precision != after.precision),
        ("device", !before.device.is_empty() && before.device != after.device),
    ];
    parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
}

fn half(found: &Estimate) -> f64 {
    (found.high - found.low) / 2.0
}

fn change(method: Option<&str>, name: &str, before: Option<Estimate>, after: Option<Estimate>) -> Option<Change> {
    let (before, after) = (before?, after?);
    let (change, spread) = (after.mean - before.mean, half(&before).hypot(half(&after)));
    let method = method.map(str::to_owned);
    let clear = change.abs() > spread + READ * before.mean.abs();
    Some(Change { method, name: name.to_owned(), before, after, change, spread, clear })
}

/// All that does not depend on the clock.
fn of_method(before: &MethodReport, after: &MethodReport) -> Vec<Change> {
    let name = Some(after.name.as_str());
    let mut all: Vec<Change> = change(name, "evaluations", before.evaluations, after.evaluations).into_iter().collect();
    all.extend(change(name, "converged", before.converged, after.converged));
    for (numbers, others) in [(&before.faithfulness, &after.faithfulness), (&before.marks, &after.marks)] {
        all.extend(others.iter().filter_map(|(key, after)| change(name, key, numbers.get(key).copied(), Some(*after))));
    }
    all
}

fn words(before: &[WordPushes], after: &[WordPushes]) -> Vec<WordChange> {
    let listed = |all: &[WordPushes]| -> BTreeMap<(String, String, String), Estimate> {
        let words = all.iter().flat_map(|pushes| {
            let of = |push: &Push| ((pushes.method.clone(), pushes.class.clone(), push.word.clone()), push.score);
            pushes.towards.iter().chain(&pushes.away).map(of).collect::<Vec<_>>()
        });
        words.collect()
    };
    let (before, after) = (listed(before), listed(after));
    // Methods that only one run has say nothing.
    let both =
        |method: &String| before.keys().any(|(one, ..)| one == method) && after.keys().any(|(one, ..)| one == method);
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).filter(|(method, ..)| both(method)).collect();
    let one = |key: &(String, String, String)| {
        let (then, now) = (before.get(key), after.get(key));
        let clear = then.zip(now).is_some_and(|(then, now)| then.high < now.low || now.high < then.low);
        let (method, class, word) = key.clone();
        WordChange { method, class, word, before: then.map(|one| one.mean), after: now.map(|one| one.mean), clear }
    };
    keys.into_iter().map(one).filter(|word| word.clear || word.before.is_none() || word.after.is_none()).collect()
}

fn agreement(before: &Agreement, after: &Agreement) -> Vec<PairChange> {
    let of = |table: &Agreement, a: &str, b: &str| {
        let place = |name: &str| table.names.iter().position(|one| one == name);
        table.rank.get(place(a)?)?.get(place(b)?).copied().flatten()
    };
    let mut changes = Vec::new();
    for (place, a) in after.names.iter().enumerate() {
        for b in after.names.iter().skip(place + 1) {
            if let (Some(then), Some(now)) = (of(before, a, b), of(after, a, b))
                && (now - then).abs() >= AGREEMENT
            {
                changes.push(PairChange { methods: [a.clone(), b.clone()], before: then, after: now });
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mean: f64, half: f64) -> Estimate {
        Estimate { mean, low: mean - half, high: mean + half, n: 9 }
    }

    #[test]
    fn a_change_is_clear_beyond_both_intervals() {
        let clear = |before, after| change(None, "x", Some(before), Some(after)).unwrap().clear;
        assert!(!clear(found(0.5, 0.3), found(0.9, 0.4)));
        assert!(clear(found(0.5, 0.3), found(1.1, 0.4)));
        assert_eq!(change(None, "x", None, Some(found(1.0, 0.1))), None);
    }

    #[test]
    fn words_come_go_and_move() {
        let pushes = |words: &[(&str, f64)]| {
            let push = |(word, mean): &(&str, f64)| Push { word: (*word).to_owned(), score: found(*mean, 0.1) };
            let towards = words.iter().map(push).collect();
            vec![WordPushes { method: "lime".into(), class: "YES".into(), towards, away: Vec::new() }]
        };
        let changes = words(
            &pushes(&[("same", 1.0), ("gone", 0.5), ("up", 0.2)]),
            &pushes(&[("same", 1.1), ("new", 0.4), ("up", 0.9)]),
        );
        let seen: Vec<_> = changes.iter().map(|one| (one.word.as_str(), one.before, one.after, one.clear)).collect();
        assert_eq!(
            seen,
            [("gone", Some(0.5), None, false), ("new", None, Some(0.4), false), ("up", Some(0.2), Some(0.9), true)]
        );
        assert!(words(&[], &pushes(&[("new", 1.0)])).is_empty(), "a method that one run lacks says nothing");
    }

    #[test]
    fn pairs_are_found_by_their_names() {
        let table = |names: [&str; 2], rank: f64| Agreement {
            names: names.map(str::to_owned).into(),
            rank: vec![vec![Some(1.0), Some(rank)], vec![Some(rank), Some(1.0)]],
            top: Vec::new(),
        };
        let changes = agreement(&table(["b", "a"], 0.9), &table(["a", "b"], 0.7));
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].before, changes[0].after), (0.9, 0.7));
        assert!(agreement(&table(["a", "b"], 0.75), &table(["a", "b"], 0.7)).is_empty());
    }
}
