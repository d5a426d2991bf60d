//! `guided_backprop` asks for its rule and reduces as `gradient` does; the rule itself is tested in `nn` and, against
//! Captum, in `models`.

use serde_json::Map;

use super::*;
use crate::methods::ErasedMethod;
use crate::methods::support::mlp::Mlp;

#[test]
fn it_is_the_gradient_under_another_rule() {
    let fake = Mlp::golden().fake();
    let gradient = super::super::gradient::Gradient.plan(Map::new(), &fake.subject()).unwrap().explain(&fake).unwrap();
    assert_eq!(fake.rule.get(), Some(Rule::Gradient));
    let ours = GuidedBackprop.plan(Map::new(), &fake.subject()).unwrap().explain(&fake).unwrap();
    assert_eq!(fake.rule.get(), Some(Rule::Guided));
    assert_eq!(ours, gradient, "a job that knows no rules");
}
