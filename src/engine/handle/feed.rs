//! What a caller who follows a job gets to see of it. The worker leaves news here and never waits; whoever reads late
//! gets the newest state of each explanation alone, and every token that was written, so a feed is as small as the answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

use crate::explain::{Audience, Explanation, Stage, is_finite};
use crate::methods::Attribution;
use crate::tasks::WrittenToken;

/// One piece of news, as JSON.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// `{"index", "id", "text", "probability", "log_probability"}`.
    Token(String),
    /// `{"explanation", "evaluations", "budget"}`.
    Progress(String),
    /// `{"index", "final", "explanation"}`.
    Explanation(String),
}

/// How far the work is.
#[derive(Debug, Clone, Copy, Serialize)]
struct Progress {
    /// Place in the answer of the first explanation that is worked on.
    explanation: usize,
    /// Model rows so far.
    evaluations: u64,
    /// Model rows at most.
    budget: u64,
}

#[derive(Serialize)]
struct Shown<'a> {
    index: usize,
    r#final: bool,
    explanation: &'a Explanation,
}

#[derive(Serialize)]
struct Written {
    index: usize,
    #[serde(flatten)]
    token: WrittenToken,
}

#[derive(Default)]
struct State {
    tokens: VecDeque<String>,
    stage: Option<Stage>,
    evaluations: u64,
    progress: Option<Progress>,
    /// By place in the answer.
    explanations: BTreeMap<usize, String>,
}

impl State {
    fn progress(&mut self) -> Option<News> {
        serde_json::to_string(&self.progress.take()?).ok().map(News::Progress)
    }
}

/// See the module.
#[derive(Default)]
pub struct Feed {
    state: Mutex<State>,
    changed: Notify,
}

impl Feed {
    /// The next piece of news; waits for one.
    pub async fn next(&self) -> News {
        loop {
            if let Some(news) = self.take() {
                return news;
            }
            self.changed.notified().await;
        }
    }

    /// The next progress; what else there is stays.
    pub async fn progress(&self) -> News {
        loop {
            if let Some(news) = self.with(State::progress) {
                return news;
            }
            self.changed.notified().await;
        }
    }

    /// News that is there already.
    pub fn take(&self) -> Option<News> {
        self.with(|state| {
            let token = state.tokens.pop_front().map(News::Token);
            let explanation =
                |state: &mut State| state.explanations.pop_first().map(|(_, shown)| News::Explanation(shown));
            token.or_else(|| state.progress()).or_else(|| explanation(state))
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.with(change);
        self.changed.notify_one();
    }

    /// Numbers that JSON cannot hold are the answer's to report.
    fn show(&self, index: usize, r#final: bool, explanation: &Explanation) {
        if !is_finite(explanation) {
            return;
        }
        if let Ok(shown) = serde_json::to_string(&Shown { index, r#final, explanation }) {
            self.change(|state| {
                state.explanations.insert(index, shown);
            });
        }
    }
}

impl Audience for Feed {
    fn listens(&self) -> bool {
        true
    }

    fn writes(&self, index: usize, token: WrittenToken) {
        if let Ok(written) = serde_json::to_string(&Written { index, token }) {
            self.change(|state| state.tokens.push_back(written));
        }
    }

    fn begins(&self, stage: Stage) {
        self.change(|state| {
            state.evaluations = 0;
            state.progress = Some(Progress { explanation: stage.first, evaluations: 0, budget: stage.budget });
            state.stage = Some(stage);
        });
    }

    fn evaluated(&self, rows: usize) {
        self.change(|state| {
            state.evaluations += rows as u64;
            let evaluations = state.evaluations;
            state.progress = state.stage.as_ref().map(|stage| Progress {
                explanation: stage.first,
                evaluations,
                budget: stage.budget,
            });
        });
    }

    fn refines(&self, attributions: Vec<Attribution>, now: f32) {
        let Some(stage) = self.with(|state| state.stage.clone()) else { return };
        for (explanation, index) in stage.explanations(attributions, now).iter().zip(stage.first..) {
            self.show(index, false, explanation);
        }
    }

    fn explained(&self, index: usize, explanation: &Explanation) {
        self.show(index, true, explanation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{Assembly, Group};

    fn stage() -> Stage {
        let assembly = Assembly { groups: vec![Group { target: None, of: vec![0] }], shape: None };
        let settings = serde_json::json!({});
        Stage { method: "lime", settings, attributions: 1, assembly, first: 2, budget: 10, begun: 1.0 }
    }

    #[test]
    fn the_newest_news_of_each_kind_is_kept() {
        let feed = Feed::default();
        feed.begins(stage());
        feed.evaluated(3);
        feed.evaluated(4);
        feed.refines(vec![Attribution::default()], 3.0);
        let explanation = stage().explanations(vec![Attribution::default()], 5.0).remove(0);
        feed.explained(2, &explanation);
        let progress = r#"{"explanation":2,"evaluations":7,"budget":10}"#;
        assert_eq!(feed.take(), Some(News::Progress(progress.to_owned())));
        let Some(News::Explanation(shown)) = feed.take() else { panic!("an explanation is shown") };
        assert!(
            shown.starts_with(r#"{"index":2,"final":true,"explanation":{"method":"lime","target":null"#),
            "{shown}"
        );
        assert!(shown.contains(r#""elapsed_ms":4.0"#), "{shown}");
        assert_eq!(feed.take(), None);
    }

    #[test]
    fn every_token_is_kept_and_comes_first() {
        let feed = Feed::default();
        feed.writes(0, WrittenToken { probability: 0.5, ..WrittenToken::new(7, " a".to_owned(), -0.5) });
        feed.writes(1, WrittenToken::new(8, String::new(), 0.0));
        feed.begins(stage());
        let first = r#"{"index":0,"id":7,"text":" a","probability":0.5,"log_probability":-0.5}"#;
        assert_eq!(feed.take(), Some(News::Token(first.to_owned())));
        assert!(matches!(feed.take(), Some(News::Token(second)) if second.starts_with(r#"{"index":1,"id":8"#)));
        assert!(matches!(feed.take(), Some(News::Progress(_))));
        assert_eq!(feed.take(), None);
    }

    #[test]
    fn what_json_cannot_hold_is_not_shown() {
        let feed = Feed::default();
        feed.begins(stage());
        assert!(matches!(feed.take(), Some(News::Progress(_))));
        feed.refines(vec![Attribution { base_value: Some(f32::NAN), ..Attribution::default() }], 3.0);
        assert_eq!(feed.take(), None);
    }
}
