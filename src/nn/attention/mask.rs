//! Which keys a query sees. Both borders move forward from query to query, so blocks of queries see ranges of keys, and
//! what lies outside is not computed.

use std::ops::Range;

/// A sliding window: query i sees the keys i − left … i + right. Mistral's and Gemma's `sliding_window` w, which counts
/// the query itself, is `left: w − 1` beside `causal`; ModernBERT's `local_attention` w is w / 2 on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Tokens visible in front of the query.
    pub left: usize,
    /// Tokens visible behind it.
    pub right: usize,
}

/// Window and causality together.
#[derive(Debug, Clone, Copy)]
pub struct Mask {
    left: usize,
    right: usize,
}

impl Mask {
    pub fn new(causal: bool, window: Option<Window>) -> Self {
        let Window { left, right } = window.unwrap_or(Window { left: usize::MAX, right: usize::MAX });
        Self { left, right: if causal { 0 } else { right } }
    }

    /// Whether every query of a row of `len` tokens sees every key.
    pub fn sees_all(self, len: usize) -> bool {
        self.left.min(self.right) >= len.saturating_sub(1)
    }

    /// The keys that query `query` of a row of `len` tokens sees: at least itself.
    #[inline(always)]
    pub fn keys(self, query: usize, len: usize) -> Range<usize> {
        query.saturating_sub(self.left)..query.saturating_add(self.right).saturating_add(1).min(len)
    }

    /// The keys that any of some queries sees.
    pub fn keys_of(self, queries: &Range<usize>, len: usize) -> Range<usize> {
        self.keys(queries.start, len).start..self.keys(queries.end - 1, len).end
    }

    /// The queries among `of` that see any of some keys; perhaps none.
    pub fn queries_of(self, keys: &Range<usize>, of: &Range<usize>) -> Range<usize> {
        let first = keys.start.saturating_sub(self.right).clamp(of.start, of.end);
        let end = (keys.end - 1).saturating_add(self.left).saturating_add(1).min(of.end);
        first..end.max(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_single_queries_see() {
        let len = 9;
        for (causal, left, right) in [(false, 2, 1), (true, 3, 5), (true, usize::MAX, 0), (false, 0, 0)] {
            let mask = Mask::new(causal, Some(Window { left, right }));
            let sees = |query: usize, key: usize| {
                let near = query.saturating_sub(key) <= left && key.saturating_sub(query) <= right;
                near && (!causal || key <= query)
            };
            for query in 0..len {
                let keys = mask.keys(query, len);
                assert!((0..len).all(|key| keys.contains(&key) == sees(query, key)));
                for end in query + 1..=len {
                    let (some, of) = (query..end, 2..8);
                    let keys = mask.keys_of(&some, len);
                    assert!((0..len).all(|key| keys.contains(&key) || some.clone().all(|query| !sees(query, key))));
                    let queries = mask.queries_of(&some, &of);
                    let seen = |query: &usize| some.clone().any(|key| sees(*query, key));
                    assert!(of.clone().filter(seen).all(|query| queries.contains(&query)));
                    assert!(queries.end <= of.end && queries.start >= of.start && queries.start <= of.end);
                }
            }
        }
    }

    #[test]
    fn without_a_mask_all_is_seen() {
        assert!(Mask::new(false, None).sees_all(7));
        assert!(Mask::new(true, None).sees_all(1));
        assert!(!Mask::new(true, None).sees_all(2));
        assert!(Mask::new(false, Some(Window { left: 6, right: 6 })).sees_all(7));
    }
}
