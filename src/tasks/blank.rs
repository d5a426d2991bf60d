//! The other use of a model that fills masks: a text that a word is taken out of, to ask what could stand there.

use super::perturb::{PerturbError, replacement};
use super::rows::Stretches;
use crate::input::TextInput;
use crate::input::units::Fill;
use crate::models::{Content, Row, Spec};

/// A text whose tokens can be taken out. What no word changes is looked up once: a long text has thousands of words.
pub struct Blanks<'a> {
    text: &'a TextInput,
    mask: u32,
    types: bool,
    windows: Stretches<'a>,
}

impl<'a> Blanks<'a> {
    /// # Errors
    /// The tokenizer has no mask token.
    pub fn of(spec: &Spec, text: &'a TextInput) -> Result<Self, PerturbError> {
        let Some(mask) = replacement(text, Fill::Mask)? else {
            return Err(PerturbError::MissingToken { fill: "mask", token: "mask" });
        };
        Ok(Self { text, mask, types: spec.token_types > 0, windows: Stretches::of(text) })
    }

    /// The row in which a mask stands in the place of `tokens`, which ascend, and is read; `None` where nothing would be.
    pub fn row(&self, tokens: &[usize]) -> Option<Row> {
        let (&first, rest) = tokens.split_first()?;
        let stretch = self.windows.list.get(self.windows.reader(first))?;
        let length = stretch.tokens.len();
        let (mut ids, mut type_ids, mut read) = (Vec::with_capacity(length), Vec::new(), Vec::new());
        for (&token, &type_id) in stretch.tokens.iter().zip(stretch.type_ids) {
            if rest.binary_search(&token).is_ok() {
                continue;
            }
            if token == first {
                read.push(ids.len());
            }
            ids.push(if token == first { self.mask } else { self.text.tokens.get(token)?.id });
            type_ids.extend(Some(type_id).filter(|_| self.types));
        }
        (!read.is_empty()).then_some(Row { content: Content::Tokens { ids, type_ids }, read })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Input;
    use crate::models::About;
    use crate::tasks::test_input;

    fn spec(token_types: usize) -> Spec {
        Spec { token_types, ..test_input::spec(About::Masked, &[]) }
    }

    #[test]
    fn a_blank_takes_a_words_place() {
        let Input::Text(text) = test_input::texts(3, None) else { unreachable!() };
        let blanks = Blanks::of(&spec(0), &text).unwrap();
        let row = |tokens: &[usize]| blanks.row(tokens).map(|row| (row.content, row.read));
        let expected = |ids: &[u32]| Content::Tokens { ids: ids.to_vec(), type_ids: Vec::new() };
        assert_eq!(row(&[2]), Some((expected(&[100, 101, 3, 103, 104]), vec![2])));
        assert_eq!(row(&[2, 3]), Some((expected(&[100, 101, 3, 104]), vec![2])));
        assert_eq!((row(&[]), row(&[9])), (None, None));
        let unmasked = TextInput { specials: Default::default(), ..text.clone() };
        assert!(Blanks::of(&spec(0), &unmasked).is_err());
        // Types go with their tokens.
        let Input::Text(pair) = test_input::texts(1, Some(2)) else { unreachable!() };
        let row = Blanks::of(&spec(2), &pair).unwrap().row(&[3, 4]).unwrap();
        assert_eq!(row.content, Content::Tokens { ids: vec![100, 101, 102, 3, 105], type_ids: vec![0, 0, 0, 1, 1] });
    }
}
