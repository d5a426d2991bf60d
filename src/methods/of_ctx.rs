//! Jobs that stand in for another one: what they do not change is the other's, member by member, so that a member added to
//! [`super::Ctx`] is handed on in one place.

/// Members of [`super::Ctx`] for a job that stands in for the one in its field `ctx`: those named are the other's own.
macro_rules! of_ctx {
    ($($member:ident),* $(,)?) => {
        $($crate::methods::of_ctx!(@ $member);)*
    };
    (@ spec) => {
        fn spec(&self) -> &$crate::models::Spec {
            self.ctx.spec()
        }
    };
    (@ task) => {
        fn task(&self) -> &dyn $crate::tasks::Readout {
            self.ctx.task()
        }
    };
    (@ input) => {
        fn input(&self) -> &$crate::input::Input {
            self.ctx.input()
        }
    };
    (@ targets) => {
        fn targets(&self) -> &[$crate::tasks::Target] {
            self.ctx.targets()
        }
    };
    (@ seed) => {
        fn seed(&self) -> u64 {
            self.ctx.seed()
        }
    };
    (@ logits) => {
        fn logits(&self) -> &[f32] {
            self.ctx.logits()
        }
    };
    (@ partial) => {
        fn partial(&self) -> bool {
            self.ctx.partial()
        }
    };
    (@ outputs) => {
        fn outputs(
            &self,
            masking: $crate::methods::Masking<'_>,
            masks: &[$crate::input::units::Mask],
        ) -> Result<Vec<Vec<f32>>, $crate::methods::Error> {
            self.ctx.outputs(masking, masks)
        }
    };
    (@ pass) => {
        fn pass(
            &self,
            pass: &$crate::methods::Pass<'_>,
            sink: &mut dyn FnMut(&$crate::methods::RowView<'_>) -> Result<(), $crate::methods::Error>,
        ) -> Result<(), $crate::methods::Error> {
            self.ctx.pass(pass, sink)
        }
    };
    (@ embedding) => {
        fn embedding(&self, ids: Option<&[u32]>) -> Result<Vec<f32>, $crate::methods::Error> {
            self.ctx.embedding(ids)
        }
    };
    (@ variants) => {
        fn variants(
            &self,
            variants: &[$crate::methods::Variant],
        ) -> Result<Vec<Vec<f32>>, $crate::methods::Error> {
            self.ctx.variants(variants)
        }
    };
    (@ proposals) => {
        fn proposals(
            &self,
            model: &str,
            text: &$crate::input::TextInput,
            words: &[usize],
            count: usize,
        ) -> Result<Vec<Vec<$crate::methods::Proposal>>, $crate::methods::Error> {
            self.ctx.proposals(model, text, words, count)
        }
    };
    (@ vectors) => {
        fn vectors(&self, ids: &[u32]) -> Result<Vec<f32>, $crate::methods::Error> {
            self.ctx.vectors(ids)
        }
    };
    (@ lexicon) => {
        fn lexicon(&self) -> Option<&dyn $crate::input::text::Lexicon> {
            self.ctx.lexicon()
        }
    };
    (@ checkpoint) => {
        fn checkpoint(&self) -> Result<(), $crate::nn::Stopped> {
            self.ctx.checkpoint()
        }
    };
    (@ rows) => {
        fn rows(&self) -> usize {
            self.ctx.rows()
        }
    };
    (@ warn) => {
        fn warn(&self, code: &'static str, detail: String) {
            self.ctx.warn(code, detail);
        }
    };
}
pub(crate) use of_ctx;
