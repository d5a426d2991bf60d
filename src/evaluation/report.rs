//! From the records of a run to its report: one pass of pure functions, so equal records give equal bytes.

mod agreement;
mod marked;
mod measures;
mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data::{Item, class_of};
use super::drift::Drift;
use super::outcome::{Outcome, Record};
use super::sanity::Sanity;
use super::statistics::{Estimate, LEVEL, RESAMPLES};
use super::swaps::Swaps;
use super::templates::Templates;

pub use agreement::Agreement;
pub use words::{Push, WordPushes};

/// What a run was: the same for all that is in its report, and the first line of its journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// explaind's version.
    pub version: String,
    pub model: Value,
    /// The file or folder, as named.
    pub data: String,
    pub items: usize,
    /// SHA-256 over the items as read, the bytes of images among them.
    pub data_sha256: String,
    /// Each as it would stand in `explain` of a request.
    pub methods: Vec<Value>,
    pub target: String,
    pub seed: u64,
    /// What measuring may take; null where nothing is measured.
    pub evaluate: Value,
    /// Those of `limits` that bound a method, its defaults or an input. Not `deadline_ms`: it decides alone whether there
    /// is an answer, and what has none is asked again where a run goes on. Null in reports of versions that kept none.
    #[serde(default)]
    pub limits: Value,
    /// `compute.precision`: what methods that only run forwards compute in where they are not told.
    #[serde(default)]
    pub precision: String,
    /// Where the model is computed, as `compute.device` names it.
    #[serde(default)]
    pub device: String,
}

/// All that is said of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub run: Head,
    pub intervals: Intervals,
    /// Share of the labelled items whose predicted class is their label.
    pub accuracy: Option<Estimate>,
    /// Share of the items for which each class is predicted, by label.
    pub predicted: BTreeMap<String, Estimate>,
    pub methods: Vec<MethodReport>,
    pub agreement: Agreement,
    /// Texts: which words push a class.
    pub words: Vec<WordPushes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Swaps>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub templates: Option<Templates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sanity: Option<Sanity>,
    /// Against an earlier run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// How the intervals were made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Intervals {
    pub method: &'static str,
    pub resamples: usize,
    pub level: f64,
    pub seed: u64,
}

/// One method over all items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodReport {
    pub name: String,
    pub explained: usize,
    /// Why the others were not: a reason and how many.
    pub failed: BTreeMap<String, usize>,
    /// Model rows an explanation.
    pub evaluations: Option<Estimate>,
    pub seconds: Option<Estimate>,
    /// Share of the explanations whose own error estimate came inside their tolerance.
    pub converged: Option<Estimate>,
    /// The measures of an answer's `faithfulness` by their names there, of nested ones with a dot
    /// (`eraser.aopc_sufficiency`), and `faithfulness`, comprehensiveness less sufficiency: what `auto` chooses by.
    pub faithfulness: BTreeMap<String, Estimate>,
    /// The lists of `faithfulness`, named alike: the mean of each point. Those over counts of units stand here where all
    /// explanations have the same counts.
    pub curves: BTreeMap<String, Vec<f64>>,
    /// Against people's marks: `auprc`, `token_f1`, `token_iou`, of images `pointing` and `energy`; `chance` beside them.
    pub marks: BTreeMap<String, Estimate>,
    /// The same over the items whose predicted class is their label.
    pub marks_right: BTreeMap<String, Estimate>,
}

/// What a report is made of.
pub struct Parts<'a> {
    pub head: Head,
    pub items: &'a [Item],
    pub labels: &'a [String],
    pub records: &'a [Record],
    pub groups: Option<Swaps>,
    pub templates: Option<Templates>,
    pub sanity: Option<Sanity>,
}

impl Report {
    /// # Errors
    /// A mask that cannot be read.
    pub fn of(parts: Parts<'_>) -> Result<Self, String> {
        let Parts { head, items, labels, records, groups, templates, sanity } = parts;
        let seed = head.seed;
        let names = names(&head.methods);
        let right = |record: &Record| right(record, items, labels);
        let judged: Vec<f64> = records.iter().filter_map(right).map(|right| f64::from(u8::from(right))).collect();
        let marks = records.iter().map(|record| marked::of(record, items)).collect::<Result<Vec<_>, _>>()?;
        let methods = names.iter().enumerate().map(|(place, name)| {
            let outcomes: Vec<&Outcome> = records.iter().filter_map(|record| record.outcomes.get(place)).collect();
            let mut method = method(name, &outcomes, seed);
            let of = |only_right: bool| {
                let rows = records.iter().zip(&marks).filter(|(record, _)| !only_right || right(record) == Some(true));
                estimates(rows.filter_map(|(_, marks)| marks.get(place)?.clone()), seed)
            };
            (method.marks, method.marks_right) = (of(false), of(true));
            method
        });
        Ok(Self {
            methods: methods.collect(),
            intervals: Intervals {
                method: "percentile bootstrap over items",
                resamples: RESAMPLES,
                level: LEVEL,
                seed,
            },
            accuracy: Estimate::of(&judged, seed),
            predicted: predicted(records, labels, seed),
            agreement: Agreement::of(&names, records),
            words: words::pushes(&names, labels, records, seed),
            groups,
            templates,
            sanity,
            drift: None,
            run: head,
        })
    }
}

/// Of classifiers alone.
fn predicted(records: &[Record], labels: &[String], seed: u64) -> BTreeMap<String, Estimate> {
    let found: Vec<usize> =
        records.iter().filter_map(|record| Some(record.seen.as_ref()?.predicted.as_ref()?.index)).collect();
    let share = |(class, label): (usize, &String)| {
        let values: Vec<f64> = found.iter().map(|found| f64::from(u8::from(*found == class))).collect();
        Some((label.clone(), Estimate::of(&values, seed)?))
    };
    labels.iter().enumerate().filter_map(share).collect()
}

/// Whether the predicted class is the item's label; `None` without either.
fn right(record: &Record, items: &[Item], labels: &[String]) -> Option<bool> {
    let label = items.get(record.item)?.label.as_deref()?;
    let predicted = record.seen.as_ref()?.predicted.as_ref()?;
    Some(class_of(label, labels)? == predicted.index)
}

/// The methods' names; where one stands several times, with its settings.
pub fn names(methods: &[Value]) -> Vec<String> {
    let name = |method: &Value| match method {
        Value::String(name) => name.clone(),
        other => other["method"].as_str().unwrap_or_default().to_owned(),
    };
    let bare: Vec<String> = methods.iter().map(name).collect();
    let full = |(index, name): (usize, &String)| {
        let settings = methods.get(index).and_then(Value::as_object).into_iter().flatten();
        let settings: Vec<String> =
            settings.filter(|(key, _)| *key != "method").map(|(key, value)| format!("{key}={value}")).collect();
        let twice = bare.iter().filter(|other| *other == name).count() > 1;
        if twice && !settings.is_empty() { format!("{name} {}", settings.join(" ")) } else { name.clone() }
    };
    bare.iter().enumerate().map(full).collect()
}

fn method(name: &str, outcomes: &[&Outcome], seed: u64) -> MethodReport {
    let explained: Vec<&&Outcome> = outcomes.iter().filter(|outcome| outcome.error.is_none()).collect();
    let mut failed = BTreeMap::new();
    for error in outcomes.iter().filter_map(|outcome| outcome.error.as_ref()) {
        *failed.entry(error.clone()).or_insert(0) += 1;
    }
    let estimate = |value: &dyn Fn(&Outcome) -> Option<f64>| {
        let values: Vec<f64> = explained.iter().filter_map(|outcome| value(outcome)).collect();
        Estimate::of(&values, seed)
    };
    let numbers = explained.iter().filter_map(|outcome| outcome.faithfulness.as_ref()).map(measures::numbers);
    MethodReport {
        name: name.to_owned(),
        explained: explained.len(),
        failed,
        evaluations: estimate(&|outcome| Some(outcome.evaluations as f64)),
        seconds: estimate(&|outcome| Some(f64::from(outcome.elapsed_ms) / 1000.0)),
        converged: estimate(&|outcome| outcome.converged.map(|converged| f64::from(u8::from(converged)))),
        faithfulness: estimates(numbers, seed),
        curves: measures::curves(explained.iter().map(|outcome| **outcome)),
        marks: BTreeMap::new(),
        marks_right: BTreeMap::new(),
    }
}

/// An estimate of every number that one of `rows` has.
fn estimates(rows: impl Iterator<Item = BTreeMap<String, f64>>, seed: u64) -> BTreeMap<String, Estimate> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, value) in rows.flatten() {
        values.entry(name).or_default().push(value);
    }
    values.into_iter().filter_map(|(name, values)| Some((name, Estimate::of(&values, seed)?))).collect()
}
