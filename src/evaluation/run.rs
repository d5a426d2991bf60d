//! Asks for every item's explanations, several items side by side, and keeps what is finished.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::data::{Content, Item};
use super::journal::Journal;
use super::outcome::{Outcome, Record, Seen};
use crate::explain::{Answer, ExplainItem, ExplainRequest};
use crate::tasks::TargetSpec;

/// Answers requests; an error is for people.
pub trait Explainer: Sync {
    /// Answers requests about one input and target, each as if it were alone: only what measuring them evaluates may be
    /// shared. `take` gets the answers in their order, or why there is none.
    fn answer(&self, requests: Vec<ExplainRequest>, image: Option<Vec<u8>>, take: &mut dyn FnMut(Answered));
}

pub type Answered = Result<Answer, String>;

impl<F: Fn(ExplainRequest, Option<Vec<u8>>) -> Answered + Sync> Explainer for F {
    fn answer(&self, requests: Vec<ExplainRequest>, image: Option<Vec<u8>>, take: &mut dyn FnMut(Answered)) {
        requests.into_iter().for_each(|request| take(self(request, image.clone())));
    }
}

/// What is asked of every item.
pub struct Questions<'a> {
    pub items: &'a [Item],
    pub methods: &'a [ExplainItem],
    /// One an item.
    pub targets: &'a [TargetSpec],
    /// What every request has beside its input, target and method.
    pub request: ExplainRequest,
    /// Items side by side.
    pub jobs: usize,
    /// Where the records are kept; see [`Record::stage`].
    pub stage: usize,
}

/// Asks what is not finished yet: of an item asked before, the methods that failed. Every method is a request of its own, so
/// that its cost is its own; `finished` is called after each item. What is kept does not depend on `jobs`, but for the seconds.
///
/// # Errors
/// The journal could not be written.
pub fn run(
    explainer: &dyn Explainer,
    questions: &Questions<'_>,
    journal: &Journal,
    finished: &(dyn Fn() + Sync),
) -> io::Result<()> {
    let done = journal.finished(questions.stage);
    let open: Vec<usize> = (0..questions.items.len()).filter(|item| !done.contains(item)).collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failure = Mutex::new(None);
    let work = || {
        while let Some(&item) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let before = journal.record(questions.stage, item);
            if let Err(error) = journal.keep(record(explainer, questions, item, before)) {
                failed.store(true, Ordering::Relaxed);
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
            finished();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..questions.jobs.min(open.len()) {
            scope.spawn(work);
        }
        work();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Asks for what there is not yet of an item: all, or what failed before.
fn record(explainer: &dyn Explainer, questions: &Questions<'_>, index: usize, before: Option<Record>) -> Record {
    let before = before.filter(|before| before.outcomes.len() == questions.methods.len());
    let (mut seen, known) = before.map_or((None, Vec::new()), |before| (before.seen, before.outcomes));
    let mut outcomes: Vec<Option<Outcome>> =
        known.into_iter().map(|outcome| Some(outcome).filter(|outcome| outcome.error.is_none())).collect();
    outcomes.resize(questions.methods.len(), None);
    let open: Vec<usize> = (0..outcomes.len()).filter(|&place| outcomes[place].is_none()).collect();
    let mut request = ExplainRequest { target: questions.targets.get(index).cloned(), ..questions.request.clone() };
    let image = questions.items.get(index).map(|item| put(&item.content, &mut request)).transpose();
    match image {
        Ok(image) => {
            let methods = open.iter().filter_map(|&place| questions.methods.get(place));
            let one = |method: &ExplainItem| ExplainRequest { explain: Some(vec![method.clone()]), ..request.clone() };
            let mut places = open.iter();
            explainer.answer(methods.map(one).collect(), image.flatten(), &mut |answer| {
                let outcome = match &answer {
                    Ok(answer) => {
                        seen.get_or_insert_with(|| Seen::of(answer));
                        Outcome::of(answer)
                    }
                    Err(error) => Outcome::failed(error),
                };
                if let Some(&place) = places.next() {
                    outcomes[place] = Some(outcome);
                }
            });
        }
        Err((file, error)) => {
            open.iter().for_each(|&place| outcomes[place] = Some(Outcome::failed(format!("{file}: {error}"))));
        }
    }
    let outcomes = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Outcome::failed("there is no answer")));
    Record { stage: questions.stage, item: index, seen, outcomes: outcomes.collect() }
}

/// Puts an item's input into `request`, where it is text, else gives the bytes of its image.
///
/// # Errors
/// The image's file and why it cannot be read.
pub fn put(content: &Content, request: &mut ExplainRequest) -> Result<Option<Vec<u8>>, (String, io::Error)> {
    match content {
        Content::Image(path) => std::fs::read(path).map(Some).map_err(|error| (path.display().to_string(), error)),
        Content::Text { text, pair } => {
            (request.text, request.pair) = (Some(text.clone()), pair.clone());
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails with the number of the call.
    fn failing(calls: &Mutex<Vec<String>>) -> impl Explainer + '_ {
        move |request: ExplainRequest, _: Option<Vec<u8>>| -> Answered {
            let Some([ExplainItem::Name(method)]) = request.explain.as_deref() else { panic!("one method a request") };
            let mut calls = calls.lock().unwrap();
            calls.push(format!("{} {method}", request.text.unwrap_or_default()));
            Err(format!("call {}", calls.len()))
        }
    }

    #[test]
    fn only_what_failed_is_asked_again() {
        let item = |text: &str| Item {
            id: text.into(),
            line: 1,
            content: Content::Text { text: text.into(), pair: None },
            label: None,
            marks: None,
        };
        let items = ["x", "y", "z"].map(item);
        let methods = ["a", "b"].map(|name| ExplainItem::Name(name.to_owned()));
        let targets = vec![TargetSpec::Predicted; 3];
        let request = ExplainRequest::default();
        let questions = Questions { items: &items, methods: &methods, targets: &targets, request, jobs: 1, stage: 2 };
        let journal = Journal::in_memory();
        let good = || Outcome { evaluations: 7, ..Outcome::default() };
        let seen = Some(Seen::default());
        let keep = |item: usize, outcomes: Vec<Outcome>| {
            journal.keep(Record { stage: 2, item, seen: seen.clone(), outcomes }).unwrap();
        };
        keep(0, vec![good(), good()]);
        keep(1, vec![good(), Outcome::failed("late")]);
        let calls = Mutex::default();
        run(&failing(&calls), &questions, &journal, &|| ()).unwrap();
        assert_eq!(*calls.lock().unwrap(), ["y b", "z a", "z b"]);
        let records = journal.records(2);
        assert_eq!(records[0].outcomes, [good(), good()]);
        assert_eq!(
            (records[1].outcomes.clone(), records[1].seen.clone()),
            (vec![good(), Outcome::failed("call 1")], seen)
        );
        assert_eq!(records[2].outcomes, ["call 2", "call 3"].map(Outcome::failed));
    }
}
