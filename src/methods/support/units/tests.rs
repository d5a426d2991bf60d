//! Every perturbation method refuses the same units in the same words; `lime` speaks for them in its own tests.

use super::*;
use crate::methods::support::fake::Fake;

#[test]
fn the_count_is_known_where_nothing_is_cut() {
    let choice = |fake: &Fake, unit| {
        let asked = Asked { unit: Some(unit), ..Asked::default() };
        Choice::resolve(asked, &fake.subject()).unwrap()
    };
    let text = Fake::text(3);
    for unit in [UnitKind::Word, UnitKind::Token] {
        let choice = choice(&text, unit);
        assert_eq!(choice.count(&text.subject()), Some(3));
        assert_eq!(choice.units(&text.input, &text.spec, 0).unwrap().len(), 3);
    }
    let image = Fake::image(8);
    let patches = choice(&image, UnitKind::Patch);
    assert_eq!(patches.count(&image.subject()), Some(16));
    assert_eq!(patches.units(&image.input, &image.spec, 0).unwrap().len(), 16);
    assert_eq!(choice(&image, UnitKind::Segment).count(&image.subject()), None);
}

#[test]
fn a_cost_is_rows_of_the_whole_input() {
    assert_eq!(cost(16, &Fake::text(4).subject()), Cost { rows: 16, tokens: 96 });
}
