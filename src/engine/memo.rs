//! What a request's masks gave, so that equal masks are evaluated once however many methods ask.

use std::collections::HashMap;

use crate::input::Input;
use crate::input::units::{Fill, Mask, Units};

/// Logits by mask.
pub type Shelf = HashMap<Mask, Box<[f32]>>;

/// A shelf for each way of taking units away. A request has few, so they are searched one by one.
#[derive(Debug, Default)]
pub struct Memo {
    shelves: Vec<(Units, Fill, Shelf)>,
}

impl Memo {
    /// The shelf of `units` and `fill`, made where there is none.
    pub fn shelf(&mut self, units: &Units, fill: Fill) -> &mut Shelf {
        let known = self.shelves.iter().position(|(own, with, _)| *with == fill && own == units);
        let index = known.unwrap_or_else(|| {
            self.shelves.push((units.clone(), fill, Shelf::new()));
            self.shelves.len() - 1
        });
        &mut self.shelves[index].2
    }
}

/// How long the rows of `mask` will be, to sort by before any row is made: only removal changes a length.
pub fn planned_tokens(input: &Input, units: &Units, fill: Fill, mask: &Mask) -> usize {
    match (input, units) {
        (Input::Text(text), Units::Text { members, .. }) if fill == Fill::Remove => {
            let absent = members.iter().enumerate().filter(|(unit, _)| !mask.contains(*unit));
            text.tokens.len().saturating_sub(absent.map(|(_, tokens)| tokens.len()).sum())
        }
        (Input::Text(text), _) => text.tokens.len(),
        (Input::Image(_), _) => 1,
    }
}
