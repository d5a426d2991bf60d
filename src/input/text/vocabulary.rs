//! A tokenizer's pieces as words: what each writes, and whether it begins a word. What replaces a word by another one
//! chooses from here.
//!
//! `processor` makes one a model, when first asked for.

use std::collections::HashSet;

use tokenizers::Tokenizer;
use tokenizers::models::ModelWrapper;

/// Where in a word a piece stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Join {
    /// At its beginning.
    Word,
    /// At the beginning of a word that nothing stands before: a piece without the mark of white space that the
    /// vocabulary has with it as well.
    First,
    /// Behind another piece.
    Inside,
}

/// One piece of a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What it writes, without white space.
    pub text: String,
    pub join: Join,
}

/// All pieces of a vocabulary by their ids. `None`: an id without a piece, or one of a meaning of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    pieces: Vec<Option<Piece>>,
    kinds: Vec<Option<Kind>>,
}

impl Vocabulary {
    pub fn new(pieces: Vec<Option<Piece>>) -> Self {
        let kinds = pieces.iter().map(|piece| piece.as_ref().and_then(Kind::of)).collect();
        Self { pieces, kinds }
    }

    /// The pieces of `tokenizer` that an embedding of `entries` has.
    pub(super) fn of(tokenizer: &Tokenizer, entries: usize) -> Self {
        let added: HashSet<u32> = tokenizer.get_added_tokens_decoder().into_keys().collect();
        let names: Vec<Option<String>> =
            (0..entries as u32).map(|id| tokenizer.id_to_token(id).filter(|_| !added.contains(&id))).collect();
        let marks = Marks::of(tokenizer, &names);
        let written = |id: usize| tokenizer.decode(&[id as u32], false).unwrap_or_default();
        let piece = |(id, name): (usize, &Option<String>)| {
            let (name, join) = (name.as_ref()?, marks.join(name.as_ref()?));
            let text = match &marks {
                Marks::Behind(prefix) => name.strip_prefix(prefix.as_str()).unwrap_or(name).to_owned(),
                Marks::Before { .. } => written(id).trim().to_owned(),
            };
            Some(Piece { text, join })
        };
        Self::new(names.iter().enumerate().map(piece).collect())
    }

    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub fn piece(&self, id: u32) -> Option<&Piece> {
        self.pieces.get(id as usize)?.as_ref()
    }

    /// What kind of word `id` is; `None` for punctuation and for a part of a word.
    pub fn kind(&self, id: u32) -> Option<Kind> {
        *self.kinds.get(id as usize)?
    }

    /// The word that the pieces `ids` write, as one that others can stand for; `None` where none can.
    pub fn like(&self, ids: &[u32]) -> Option<Like> {
        let pieces = ids.iter().map(|&id| self.piece(id)).collect::<Option<Vec<&Piece>>>()?;
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        let whole = Piece { text, join: pieces.first()?.join };
        Some(Like { kind: Kind::of(&whole)?, lower: whole.text.to_lowercase() })
    }

    /// Whether `id` is another word of the kind of `like`, not only in other letters of the same.
    pub fn replaces(&self, like: &Like, id: u32) -> bool {
        let other = self.piece(id).filter(|_| self.kind(id) == Some(like.kind));
        other.is_some_and(|other| other.text.to_lowercase() != like.lower)
    }

    /// Whether `id` is a word that could be written in the place of `word`, of letters or digits as it is, whatever
    /// stands before.
    pub fn writes_like(&self, id: u32, word: &str) -> bool {
        let made_of = |text: &str| MadeOf::of(text).map(MadeOf::any_capital);
        let piece = self.piece(id).filter(|piece| piece.join != Join::Inside);
        piece.is_some_and(|piece| {
            made_of(word).is_some()
                && made_of(&piece.text) == made_of(word)
                && piece.text.to_lowercase() != word.to_lowercase()
        })
    }
}

/// How pieces show where words begin.
enum Marks {
    /// A mark at pieces that continue a word: WordPiece.
    Behind(String),
    /// A mark at pieces that begin one; of the others, those that exist with it as well.
    Before { mark: char, marked: HashSet<String> },
}

impl Marks {
    fn of(tokenizer: &Tokenizer, names: &[Option<String>]) -> Self {
        if let ModelWrapper::WordPiece(model) = tokenizer.get_model() {
            return Self::Behind(model.continuing_subword_prefix.clone());
        }
        // White space as byte-level and as SentencePiece vocabularies write it.
        let having = |mark: char| names.iter().flatten().filter(|name| name.starts_with(mark)).count();
        let mark = if having('Ġ') >= having('▁') { 'Ġ' } else { '▁' };
        let marked = names.iter().flatten().filter_map(|name| name.strip_prefix(mark)).map(str::to_owned).collect();
        Self::Before { mark, marked }
    }

    fn join(&self, name: &str) -> Join {
        match self {
            Self::Behind(prefix) if name.starts_with(prefix.as_str()) => Join::Inside,
            Self::Behind(_) => Join::Word,
            Self::Before { mark, .. } if name.starts_with(*mark) => Join::Word,
            Self::Before { marked, .. } if marked.contains(name) => Join::First,
            Self::Before { .. } => Join::Inside,
        }
    }
}

/// A word that others can stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Like {
    pub kind: Kind,
    lower: String,
}

/// Whether `word` is of letters alone or of digits alone, so that another could stand in its place.
pub fn is_word(word: &str) -> bool {
    MadeOf::of(word).is_some()
}

/// What makes words alike: how they are joined to what stands before, and what they are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    join: Join,
    made_of: MadeOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum MadeOf {
    /// A single one more often spells than it is a word.
    Letters {
        capital: bool,
        single: bool,
    },
    Digits,
}

impl Kind {
    fn of(piece: &Piece) -> Option<Self> {
        let made_of = MadeOf::of(&piece.text).filter(|_| piece.join != Join::Inside)?;
        Some(Self { join: piece.join, made_of })
    }
}

impl MadeOf {
    fn of(text: &str) -> Option<Self> {
        let first = text.chars().next()?;
        if text.chars().all(char::is_alphabetic) {
            return Some(Self::Letters { capital: first.is_uppercase(), single: text.chars().nth(1).is_none() });
        }
        text.chars().all(|c| c.is_ascii_digit()).then_some(Self::Digits)
    }

    fn any_capital(self) -> Self {
        match self {
            Self::Letters { single, .. } => Self::Letters { capital: false, single },
            Self::Digits => Self::Digits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(pieces: &[(&str, Join)]) -> Vocabulary {
        Vocabulary::new(pieces.iter().map(|&(text, join)| Some(Piece { text: text.into(), join })).collect())
    }

    #[test]
    fn a_word_is_replaced_by_words_of_its_kind() {
        use Join::{First, Inside, Word};
        let known = vocabulary(&[
            ("good", Word),
            ("bad", Word),
            ("Good", Word),
            ("Rome", Word),
            ("ness", Inside),
            ("12", Word),
            ("7", Word),
            (",", Word),
            ("fine", First),
            ("Paris", Word),
        ]);
        let like = |own: u32| {
            let like = known.like(&[own]);
            (0..known.len() as u32)
                .filter(|&id| like.as_ref().is_some_and(|like| known.replaces(like, id)))
                .collect::<Vec<u32>>()
        };
        assert_eq!(like(0), [1]);
        assert_eq!(like(3), [2, 9]);
        assert_eq!(like(5), [6]);
        assert_eq!([4, 7, 99, 8].map(|id| like(id).len()), [0; 4]);
        assert!([4, 7, 99].iter().all(|&id| known.kind(id).is_none()));
        // Several pieces are one word, of which a piece that continues one is no part alone.
        let several = known.like(&[0, 4]).unwrap();
        assert_eq!((0..10).filter(|&id| known.replaces(&several, id)).collect::<Vec<u32>>(), [0, 1]);
        assert_eq!(known.like(&[4, 0]).or(known.like(&[0, 7])).or(known.like(&[])), None);
        let written = |word: &str| (0..10).filter(|&id| known.writes_like(id, word)).collect::<Vec<u32>>();
        assert_eq!((written("GOOD"), written("3"), written("!")), (vec![1, 3, 8, 9], vec![5, 6], vec![]));
    }
}
