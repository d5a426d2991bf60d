//! What a masked language model would write in a word's place: a loaded model beside the one that is explained reads the
//! same text with its own tokenizer, a mask where the word stands.

use super::ServedModel;
use super::catalog::Processor;
use crate::input::TextInput;
use crate::input::text::{TextProcessor, Truncation, Vocabulary, Word};
use crate::methods::{Error, Proposal};
use crate::tasks::{Blanks, log_sum_exp};

const UNREAD: Error = Error::Missing { what: "a text that the masked language model can read" };

/// A text as the model reads it.
pub struct Read {
    text: TextInput,
    /// The tokens of each of its words.
    members: Vec<Vec<usize>>,
}

impl Read {
    /// # Errors
    /// The model fills no masks, or its tokenizer fails.
    pub fn of(model: &ServedModel, text: &TextInput) -> Result<Self, Error> {
        let Processor::Text(processor) = &model.processor else { return Err(UNREAD) };
        let text = read(processor, text).ok_or(UNREAD)?;
        let mut members = vec![Vec::new(); text.words.len()];
        for (place, token) in text.tokens.iter().enumerate() {
            if let Some(own) = token.word.and_then(|word| members.get_mut(word)) {
                own.push(place);
            }
        }
        Ok(Self { text, members })
    }

    /// What a mask is put into.
    ///
    /// # Errors
    /// The tokenizer has no mask token.
    pub fn blanks(&self, model: &ServedModel) -> Result<Blanks<'_>, Error> {
        Ok(Blanks::of(model.model.spec(), &self.text)?)
    }

    /// The tokens that write `word` of the same text in other tokens, with the white space before it; none where its own
    /// words reach beyond it.
    pub fn tokens_of(&self, word: &Word) -> Vec<usize> {
        let words = &self.text.words;
        // Words ascend, text by text, and none overlaps another.
        let first = words.partition_point(|own| (own.sequence, own.end) <= (word.sequence, word.start));
        let here = |own: &&Word| own.sequence == word.sequence && own.start < word.end;
        let own = words.iter().skip(first).take_while(here);
        let within = own.clone().all(|own| own.start >= word.start && own.end <= word.end);
        match within {
            true => self.members.iter().skip(first).take(own.count()).flatten().copied().collect(),
            false => Vec::new(),
        }
    }
}

/// In windows where it is long; cut where the shorter of a pair leaves no room for them.
fn read(processor: &TextProcessor, text: &TextInput) -> Option<TextInput> {
    let encode = |truncation| processor.encode(&text.text, text.pair.as_deref(), truncation).ok();
    encode(Truncation::Window).or_else(|| encode(Truncation::Truncate))
}

/// The `count` likeliest words but `own`, of letters or digits as it is, the likeliest first. `logits` are those of the
/// whole vocabulary.
pub fn ranked(model: &ServedModel, logits: &[f32], own: &str, count: usize) -> Vec<Proposal> {
    model.lexicon().map_or_else(Vec::new, |lexicon| likeliest(lexicon.vocabulary(), logits, own, count))
}

fn likeliest(vocabulary: &Vocabulary, logits: &[f32], own: &str, count: usize) -> Vec<Proposal> {
    let normaliser = log_sum_exp(logits);
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    let mut found: Vec<Proposal> = Vec::with_capacity(count);
    for id in order.into_iter().filter(|&id| vocabulary.writes_like(id, own)) {
        let Some(piece) = vocabulary.piece(id).filter(|_| found.len() < count) else { break };
        // A word may be in the vocabulary with the space before it and without.
        if found.iter().all(|known| known.text != piece.text) {
            let log_probability = f64::from(logits[id as usize]) - normaliser;
            found.push(Proposal { text: piece.text.clone(), log_probability });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::text::{Join, Piece};

    #[test]
    fn words_are_ranked_and_what_is_none_is_passed_over() {
        use Join::{First, Inside, Word};
        let piece = |(text, join): (&str, Join)| Some(Piece { text: text.into(), join });
        let pieces = [("film", Word), ("Film", First), ("ness", Inside), ("good", Word), (",", Word), ("film", First)];
        let mut pieces: Vec<Option<Piece>> = pieces.into_iter().map(piece).collect();
        pieces.push(None);
        let vocabulary = Vocabulary::new(pieces);
        let logits = [1.0, 0.5, 9.0, 2.0, 3.0, 1.5, 4.0];
        let found = likeliest(&vocabulary, &logits, "bad", 9);
        let texts: Vec<&str> = found.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(texts, ["good", "film", "Film"]);
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        assert!((found[0].log_probability - (2.0 - sum.ln())).abs() < 1e-9);
        assert_eq!(likeliest(&vocabulary, &logits, "bad", 1).len(), 1);
        assert_eq!(likeliest(&vocabulary, &logits, "Good", 9).len(), 2);
        assert!(
            likeliest(&vocabulary, &logits, "!", 9).is_empty() && likeliest(&vocabulary, &logits, "7", 9).is_empty()
        );
    }
}
