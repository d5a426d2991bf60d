//! The engine's life: loading, warming, ready, draining, broken. Only these steps exist, and the last two are final.

use tokio::sync::watch;

/// Where the engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Models are fetched and read.
    Loading,
    /// Models are computing their first rows.
    Warming,
    Ready,
    /// No new work; what is admitted is finished.
    Draining,
    /// Loading failed, or the models no longer compute what they did.
    Broken,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Warming => "warming",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Broken => "broken",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The phase and what it waits for, watched.
pub(super) struct Phases(watch::Sender<(Phase, String)>);

impl Default for Phases {
    fn default() -> Self {
        Self(watch::Sender::new((Phase::Loading, "the models to load".to_owned())))
    }
}

impl Phases {
    pub fn now(&self) -> (Phase, String) {
        self.0.borrow().clone()
    }

    /// `model` computes its first rows.
    pub fn warm(&self, model: &str) {
        self.step(Phase::Warming, format!("the warm-up of {model}"), |from| {
            matches!(from, Phase::Loading | Phase::Warming)
        });
    }

    pub fn ready(&self) {
        self.step(Phase::Ready, String::new(), |from| matches!(from, Phase::Loading | Phase::Warming));
    }

    pub fn drain(&self) {
        self.step(Phase::Draining, "running requests to end".to_owned(), |from| from != Phase::Broken);
    }

    pub fn broke(&self, why: String) {
        self.step(Phase::Broken, why, |from| from != Phase::Broken);
    }

    pub async fn until_broken(&self) -> String {
        self.until(|phase| phase == Phase::Broken).await.1
    }

    pub async fn until_settled(&self) -> Phase {
        self.until(|phase| !matches!(phase, Phase::Loading | Phase::Warming)).await.0
    }

    async fn until(&self, wanted: impl Fn(Phase) -> bool) -> (Phase, String) {
        let mut receiver = self.0.subscribe();
        let reached = receiver.wait_for(|(phase, _)| wanted(*phase)).await.map(|now| now.clone());
        // The sender lives in `self`, so the wait cannot end without the phase.
        reached.unwrap_or_else(|_| self.now())
    }

    fn step(&self, to: Phase, detail: String, from: impl Fn(Phase) -> bool) {
        self.0.send_if_modified(|now| {
            let allowed = from(now.0);
            if allowed {
                *now = (to, detail);
            }
            allowed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_during_the_load_is_not_undone_by_ready() {
        let phases = Phases::default();
        phases.warm("m");
        phases.drain();
        phases.ready();
        assert_eq!(phases.now().0, Phase::Draining);
    }

    #[test]
    fn broken_is_final() {
        let phases = Phases::default();
        phases.broke("why".to_owned());
        phases.drain();
        phases.broke("another".to_owned());
        assert_eq!(phases.now(), (Phase::Broken, "why".to_owned()));
    }
}
