//! Softmax attention over packed rows. Sequences of one length are computed together, so nothing is padded and no
//! score is masked.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{D, Device, Result, Tensor};

use super::{Backward, Session};
use crate::nn::{Error, Node, Probabilities, Tape};

/// Heads that stand side by side in the packed projection.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Heads {
    pub heads: usize,
    /// Columns of one head.
    pub depth: usize,
    /// What scores are multiplied with.
    pub scale: f32,
}

/// Packed sequences by length.
#[derive(Debug)]
pub(super) struct Groups {
    offsets: Vec<usize>,
    groups: Vec<Group>,
    /// Where each packed row stands among the groups' rows, behind one another; `None` with a single group.
    back: Option<Tensor>,
}

#[derive(Debug)]
struct Group {
    length: usize,
    /// Which sequences they are.
    members: Vec<usize>,
    /// Their rows in the packed array; `None` with a single group, whose rows are all there are.
    rows: Option<Tensor>,
}

impl Groups {
    /// `offsets`: the sequences' borders, checked.
    pub fn new(offsets: &[usize], device: &Device) -> Result<Self> {
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (sequence, pair) in offsets.windows(2).enumerate() {
            by_length.entry(pair[1] - pair[0]).or_default().push(sequence);
        }
        by_length.remove(&0);
        let several = by_length.len() > 1;
        let mut order: Vec<u32> = Vec::new();
        let mut groups = Vec::new();
        for (length, members) in by_length {
            let from = order.len();
            let rows = members.iter().flat_map(|&sequence| offsets[sequence]..offsets[sequence] + length);
            order.extend(rows.map(|row| row as u32));
            let rows = several.then(|| Tensor::from_slice(&order[from..], order.len() - from, device)).transpose()?;
            groups.push(Group { length, members, rows });
        }
        let mut back = vec![0_u32; order.len()];
        for (place, &row) in order.iter().enumerate() {
            back[row as usize] = place as u32;
        }
        let back = several.then(|| Tensor::from_vec(back, order.len(), device)).transpose()?;
        Ok(Self { offsets: offsets.to_vec(), groups, back })
    }

    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The groups' results behind one another, as the packed rows stand.
    fn together(&self, results: &[Tensor]) -> Result<Tensor> {
        match (&self.back, results) {
            (Some(back), results) => Tensor::cat(results, 0)?.index_select(back, 0),
            (None, [result]) => Ok(result.clone()),
            (None, results) => Tensor::cat(results, 0),
        }
    }
}

impl Group {
    fn of(&self, packed: &Tensor) -> Result<Tensor> {
        match &self.rows {
            Some(rows) => packed.index_select(rows, 0),
            None => Ok(packed.clone()),
        }
    }
}

/// P V of every head and row, and P where `keep` asks for it; `offsets` and `qkv` fit one another.
///
/// # Errors
/// `Device`.
pub(in crate::nn) fn attention(
    tape: &mut Tape<'_>,
    session: &Arc<Session>,
    heads: Heads,
    (qkv, offsets): (&Node, &[usize]),
    keep: bool,
) -> std::result::Result<(Node, Option<Probabilities>), Error> {
    let mut kept: Vec<Vec<f32>> = vec![Vec::new(); offsets.len()];
    let node = session.apply(tape, "attention", (qkv, None), |qkv, _| {
        let groups = session.groups(offsets)?;
        let mut results = Vec::with_capacity(groups.groups.len());
        for group in &groups.groups {
            let [q, k, v] = heads.split(&group.of(qkv)?, group)?;
            let p = heads.probabilities(&q, &k)?;
            results.push(heads.merge(&p.matmul(&v)?, group)?);
            if keep {
                let numbers: Vec<f32> = p.flatten_all()?.to_vec1()?;
                let own = numbers.chunks_exact(heads.heads * group.length * group.length);
                group.members.iter().zip(own).for_each(|(&sequence, own)| kept[sequence] = own.to_vec());
            }
        }
        let out = groups.together(&results)?;
        Ok((out, AttentionBackward { heads, groups, qkv: qkv.clone() }))
    })?;
    Ok((node, keep.then(|| Probabilities { values: kept.concat() })))
}

impl Heads {
    /// Queries, keys and values of a group's rows, each (sequences · heads) × length × depth.
    fn split(&self, rows: &Tensor, group: &Group) -> Result<[Tensor; 3]> {
        let (sequences, n) = (group.members.len(), group.length);
        let parts = rows.reshape((sequences, n, 3, self.heads, self.depth))?.permute((2, 0, 3, 1, 4))?;
        let parts = parts.reshape((3, sequences * self.heads, n, self.depth))?;
        Ok([parts.get(0)?, parts.get(1)?, parts.get(2)?])
    }

    /// One such array as rows × width.
    fn merge(&self, parts: &Tensor, group: &Group) -> Result<Tensor> {
        let (sequences, n) = (group.members.len(), group.length);
        let parts = parts.reshape((sequences, self.heads, n, self.depth))?.transpose(1, 2)?;
        parts.reshape((sequences * n, self.heads * self.depth))
    }

    /// softmax(scale · Q Kᵀ) of every head.
    fn probabilities(&self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        let scores = (q.matmul(&k.t()?)? * f64::from(self.scale))?;
        let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
    }

    /// Gradients of a group's rows of `qkv`, given that of its result.
    fn backward(&self, qkv: &Tensor, grad: &Tensor, group: &Group) -> Result<Tensor> {
        let [q, k, v] = self.split(qkv, group)?;
        let p = self.probabilities(&q, &k)?;
        let (sequences, n) = (group.members.len(), group.length);
        let grad = grad.reshape((sequences, n, self.heads, self.depth))?.transpose(1, 2)?;
        let grad = grad.reshape((sequences * self.heads, n, self.depth))?;
        let dp = grad.matmul(&v.t()?)?;
        let mean = (&dp * &p)?.sum_keepdim(D::Minus1)?;
        let ds = ((dp.broadcast_sub(&mean)? * &p)? * f64::from(self.scale))?;
        let parts = [ds.matmul(&k)?, ds.t()?.matmul(&q)?, p.t()?.matmul(&grad)?];
        let parts = parts.map(|part| part.reshape((sequences, self.heads, n, self.depth)));
        let [dq, dk, dv] = parts;
        let all = Tensor::stack(&[dq?, dk?, dv?], 0)?.permute((1, 3, 0, 2, 4))?;
        all.reshape((sequences * n, 3 * self.heads * self.depth))
    }
}

struct AttentionBackward {
    heads: Heads,
    groups: Arc<Groups>,
    qkv: Tensor,
}

impl Backward for AttentionBackward {
    /// dV = Pᵀ dO; dP = dO Vᵀ; dS = scale · P ∘ (dP − rowsum(dP ∘ P)); dQ = dS K; dK = dSᵀ Q. P is computed again.
    fn backward(&self, grad: &Tensor, _wanted: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let groups = self.groups.groups.iter();
        let parts = groups.map(|group| self.heads.backward(&group.of(&self.qkv)?, &group.of(grad)?, group));
        Ok([Some(self.groups.together(&parts.collect::<Result<Vec<_>>>()?)?), None])
    }
}
