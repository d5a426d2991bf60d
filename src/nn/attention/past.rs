//! Rows behind keys and values that were computed before. Only the rows' own queries are answered. What was computed before
//! lies in parts, one behind another, which rows and forwards share; a head gathers its own columns when it works on a row.

use rayon::prelude::*;

use super::Attention;
use super::head::{Head, Workspace, room};
use super::layout::{Layout, Part, Shared, Task};
use crate::nn::{Array, Error, Node, Tape};

/// Rows of a part that is still added to: many small parts would be gathered slowly.
const SMALL: usize = 64;

/// Keys and values of tokens that stand before rows.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// Of tokens one behind another: tokens × [kv_heads·depth | kv_heads·depth].
    pub parts: &'a [Array],
    /// How many of these tokens, from the first on, stand before each row.
    pub counts: &'a [usize],
}

impl Attention {
    /// As [`Attention::forward`], of rows behind `past`: a row's queries see its past and the row itself, and have the
    /// bits that they have in the whole. Has no gradient.
    ///
    /// # Errors
    /// `Shape` where columns, borders and past do not fit one another, or a tape wants gradients.
    pub fn behind(&self, tape: &mut Tape<'_>, qkv: &Node, offsets: &[usize], past: Past<'_>) -> Result<Node, Error> {
        let layout = Layout::new(self, qkv, offsets, None)?;
        let Past { parts, counts } = past;
        let (columns, tokens) = (2 * self.kv_heads * self.depth, past.tokens());
        let counted = counts.len() + 1 == offsets.len() && counts.iter().all(|&count| count <= tokens);
        if tape.tracks(&[qkv]) || parts.iter().any(|part| part.cols() != columns) || !counted {
            let detail = format!(
                "{} rows of {} columns behind {tokens}, of which {columns} columns are wanted, without gradients",
                qkv.rows(),
                qkv.cols()
            );
            return Err(Error::shape("attention", detail));
        }
        let width = layout.width();
        let mut out: Vec<f32> = Vec::with_capacity(layout.tokens() * width);
        let target = Shared(out.as_mut_ptr());
        layout.tasks(&mut []).into_par_iter().with_min_len(layout.tasks_together()).for_each_init(
            Workspace::default,
            |workspace, task| {
                let head = Head::behind(&layout, qkv.value(), &task, (parts, counts[task.row]));
                // SAFETY: `out` has room for a row of `width` per token; every task owns the columns of its head in
                // the rows of its sequence, and no two tasks share both.
                unsafe {
                    let out = target.at(task.start * width + task.head * layout.depth);
                    head.attend(workspace, out, None);
                }
            },
        );
        // SAFETY: the tasks have written every head's columns of every row.
        unsafe { out.set_len(layout.tokens() * width) };
        Ok(Node::constant(Array::new(out, layout.tokens(), width)))
    }
}

impl Past<'_> {
    /// Tokens of all parts.
    pub fn tokens(&self) -> usize {
        self.parts.iter().map(Array::rows).sum()
    }
}

impl<'a> Head<'a> {
    /// A head of a row behind the first `before` tokens of `past`.
    fn behind(layout: &'a Layout, qkv: &'a [f32], task: &Task<'_>, (past, before): (&'a [Array], usize)) -> Self {
        let mut head = Self::new(layout, qkv, task);
        head.len += before;
        head.before = before;
        head.past = Some(past);
        head
    }

    /// Keys or values at every position, those computed before in front: the numbers, and how far apart rows are.
    pub fn all<'b>(&'b self, part: Part, gathered: &'b mut Vec<f32>) -> (&'b [f32], usize) {
        let (depth, stride) = (self.layout.depth, self.layout.stride());
        let Some(past) = self.past.filter(|_| self.before > 0) else { return (self.part(part, 0), stride) };
        // Queries are not kept.
        let kept = stride - self.layout.width();
        let column = self.layout.column(part, self.head) - self.layout.width();
        let all = room(gathered, self.len * depth);
        let (earlier, own) = all.split_at_mut(self.before * depth);
        let past = past.iter().flat_map(|part| part.data().chunks_exact(kept));
        for (to, from) in earlier.chunks_exact_mut(depth).zip(past) {
            to.copy_from_slice(&from[column..][..depth]);
        }
        for (to, from) in own.chunks_exact_mut(depth).zip(self.part(part, self.before).chunks(stride)) {
            to.copy_from_slice(&from[..depth]);
        }
        (&*all, depth)
    }
}

/// The keys and values of one row's packed projection, behind all of a past: what further rows may stand behind. The past's
/// own parts are shared, all but a small last one.
///
/// # Errors
/// `Shape` where the columns do not fit, or the row does not stand behind all of the past.
pub fn kept(attention: &Attention, qkv: &Node, past: Option<Past<'_>>) -> Result<Vec<Array>, Error> {
    let (columns, queries) = (attention.columns(), attention.heads * attention.depth);
    let kept = columns - queries;
    let whole = |past: Past<'_>| past.counts == [past.tokens()] && past.parts.iter().all(|part| part.cols() == kept);
    if qkv.cols() != columns || !past.is_none_or(whole) {
        return Err(Error::shape("keys and values", format!("{} columns of {columns}", qkv.cols())));
    }
    let mut parts = past.map_or_else(Vec::new, |past| past.parts.to_vec());
    let last = parts.pop_if(|last| last.rows() + qkv.rows() <= SMALL);
    let rows = last.as_ref().map_or(0, Array::rows) + qkv.rows();
    let mut own = Vec::with_capacity(rows * kept);
    own.extend(last.iter().flat_map(Array::data));
    qkv.value().chunks_exact(columns).for_each(|row| own.extend_from_slice(&row[queries..]));
    parts.push(Array::new(own, rows, kept));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::nn::Window;
    use crate::nn::tests::random;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        /// Rows that begin as the whole one does, each behind as much of it as is named.
        #[test]
        fn own_queries_have_the_bits_of_the_whole(
            (kv_heads, group, depth) in (1usize..4, 1usize..4, prop_oneof![1usize..9, Just(33), Just(64)]),
            len in prop_oneof![2usize..50, 90usize..230],
            shares in proptest::collection::vec(0.0f64..1.0, 1..4),
            window in proptest::option::of((0usize..60).prop_map(|left| Window { left, right: 0 })),
            softcap in proptest::option::of(0.5f32..4.0),
        ) {
            let plain = Attention::new(kv_heads * group, depth);
            let attention = Attention { kv_heads, causal: true, window, softcap, ..plain };
            let (columns, width) = (attention.columns(), kv_heads * group * depth);
            let qkv = random(&mut ChaCha8Rng::seed_from_u64(len as u64), len * columns);
            let mut tape = Tape::new(&(), false);
            let whole = Node::constant(Array::new(qkv.clone(), len, columns));
            let (out, _) = attention.forward(&mut tape, &whole, &[0, len], None, false).unwrap();

            let counts: Vec<usize> = shares.iter().map(|share| (share * len as f64) as usize).collect();
            let most = counts.iter().copied().max().unwrap();
            let first = Node::constant(Array::new(qkv[..most * columns].to_vec(), most, columns));
            // In parts of any length, as tokens are added to it.
            let mut past: Vec<Array> = Vec::new();
            let mut from = 0;
            for to in [most / 3, (most / 3 + 1).min(most), most] {
                let part = Node::constant(Array::new(first.value()[from * columns..to * columns].to_vec(), to - from, columns));
                past = kept(&attention, &part, Some(Past { parts: &past, counts: &[from] })).unwrap();
                from = to;
            }
            let mut offsets = vec![0];
            let mut own = Vec::new();
            for &count in &counts {
                own.extend_from_slice(&qkv[count * columns..]);
                offsets.push(own.len() / columns);
            }
            let rows = Node::constant(Array::new(own, offsets[counts.len()], columns));
            let found = attention.behind(&mut tape, &rows, &offsets, Past { parts: &past, counts: &counts }).unwrap();
            for (row, &count) in counts.iter().enumerate() {
                let found = &found.value()[offsets[row] * width..offsets[row + 1] * width];
                prop_assert_eq!(found, &out.value()[count * width..], "behind {}", count);
            }
            // What a row keeps is what the whole one keeps.
            let last = Node::constant(Array::new(qkv[most * columns..].to_vec(), len - most, columns));
            let again = kept(&attention, &last, Some(Past { parts: &past, counts: &[most] })).unwrap();
            let all = kept(&attention, &whole, None).unwrap();
            prop_assert_eq!(again.iter().flat_map(Array::data).collect::<Vec<_>>(), all[0].data().iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_past_that_does_not_fit_is_refused() {
        let attention = Attention { causal: true, ..Attention::new(1, 2) };
        let rows = Node::constant(Array::new(vec![0.0; 12], 2, 6));
        let array = [Array::new(vec![0.0; 12], 3, 4)];
        let behind = |rows: &Node, counts: &[usize]| {
            attention.behind(&mut Tape::new(&(), false), rows, &[0, 2], Past { parts: &array, counts }).is_ok()
        };
        assert!(behind(&rows, &[3]));
        assert!(!behind(&rows, &[4]), "more than there are");
        assert!(!behind(&rows, &[1, 1]), "a row too many");
        assert!(kept(&attention, &Node::constant(Array::new(vec![0.0; 8], 2, 4)), None).is_err());
        assert!(kept(&attention, &rows, Some(Past { parts: &array, counts: &[2] })).is_err(), "behind some of it");
        let mut tape = Tape::new(&(), true);
        let variable = tape.variable(Array::new(vec![0.0; 12], 2, 6));
        let past = Past { parts: &array, counts: &[1] };
        assert!(attention.behind(&mut tape, &variable, &[0, 2], past).is_err(), "gradients");
    }

    /// A token at a time: what was there is shared, but for a small last part.
    #[test]
    fn a_past_that_grows_is_not_copied() {
        let attention = Attention { causal: true, ..Attention::new(1, 2) };
        let token = Node::constant(Array::new(vec![0.5; 6], 1, 6));
        let mut parts: Vec<Array> = Vec::new();
        for before in 0..1000 {
            let grown = kept(&attention, &token, Some(Past { parts: &parts, counts: &[before] })).unwrap();
            let shared = parts.iter().zip(&grown).filter(|(a, b)| std::ptr::eq(a.data(), b.data())).count();
            assert!(shared + 1 >= parts.len(), "{before}: {shared} of {}", parts.len());
            parts = grown;
        }
        assert_eq!((parts.len(), parts.iter().map(Array::rows).sum::<usize>()), (1000_usize.div_ceil(SMALL), 1000));
    }
}
