//! `guided_backprop` asks for its rule and reduces as `gradient` does; the rule itself is tested in `nn` and, against
//! Captum, in `models`.

use std::cell::Cell;

use serde_json::Map;

use super::*;
use crate::methods::support::fake::Fake;
use crate::methods::support::mlp::Mlp;
use crate::methods::{ErasedMethod, Pass, RowView};

#[test]
fn it_is_the_gradient_under_another_rule() {
    let fake = Mlp::golden().fake();
    let ours = GuidedBackprop.plan(Map::new(), &fake.subject()).unwrap().explain(&fake).unwrap();
    let gradient = super::super::gradient::Gradient.plan(Map::new(), &fake.subject()).unwrap().explain(&fake).unwrap();
    assert_eq!(ours, gradient, "a job that knows no rules");

    struct Seen<'a>(&'a Fake, Cell<Option<Rule>>);
    impl Ctx for Seen<'_> {
        fn spec(&self) -> &crate::models::Spec {
            self.0.spec()
        }
        fn task(&self) -> &dyn crate::tasks::Readout {
            self.0.task()
        }
        fn input(&self) -> &crate::input::Input {
            self.0.input()
        }
        fn targets(&self) -> &[crate::tasks::Target] {
            self.0.targets()
        }
        fn seed(&self) -> u64 {
            self.0.seed()
        }
        fn logits(&self) -> &[f32] {
            self.0.logits()
        }
        fn partial(&self) -> bool {
            self.0.partial()
        }
        fn outputs(
            &self,
            masking: crate::methods::Masking<'_>,
            masks: &[crate::input::units::Mask],
        ) -> Result<Vec<Vec<f32>>, Error> {
            self.0.outputs(masking, masks)
        }
        fn pass(&self, pass: &Pass<'_>, sink: &mut dyn FnMut(&RowView<'_>) -> Result<(), Error>) -> Result<(), Error> {
            self.1.set(Some(pass.rule));
            self.0.pass(pass, sink)
        }
        fn variants(&self, variants: &[crate::methods::Variant]) -> Result<Vec<Vec<f32>>, Error> {
            self.0.variants(variants)
        }
        fn vectors(&self, ids: &[u32]) -> Result<Vec<f32>, Error> {
            self.0.vectors(ids)
        }
        fn lexicon(&self) -> Option<&dyn crate::input::text::Lexicon> {
            self.0.lexicon()
        }
        fn embedding(&self, ids: Option<&[u32]>) -> Result<Vec<f32>, Error> {
            self.0.embedding(ids)
        }
        fn checkpoint(&self) -> Result<(), crate::nn::Stopped> {
            self.0.checkpoint()
        }
        fn warn(&self, code: &'static str, detail: String) {
            self.0.warn(code, detail);
        }
    }
    let seen = Seen(&fake, Cell::new(None));
    GuidedBackprop.plan(Map::new(), &fake.subject()).unwrap().explain(&seen).unwrap();
    assert_eq!(seen.1.get(), Some(Rule::Guided));
}
