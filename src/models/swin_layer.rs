//! One layer of Swin, and the merging of patches between its stages.

use super::relative::{entries, spread};
use super::vision::named;
use super::{LoadError, Weights};
use crate::nn::{self, Activation, Arrangement, Attention, Bias, LayerNorm, Linear, Node, Tape};

/// What the score of a position gets that lies elsewhere in the image, as transformers has it.
const ELSEWHERE: f32 = -100.0;

/// Sizes of a stage's layers.
pub struct Widths {
    pub hidden: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub qkv_bias: bool,
    pub epsilon: f32,
}

/// x + attention inside windows, then x + feed-forward.
pub struct Layer {
    windows: Windows,
    attention: Attention,
    attention_norm: LayerNorm,
    qkv: Linear,
    output: Linear,
    feed_forward_norm: LayerNorm,
    up: Linear,
    down: Linear,
}

/// How a map falls into windows.
struct Windows {
    /// From the map to windows of `area` positions.
    cut: Arrangement,
    joined: Arrangement,
    area: usize,
    bias: Bias,
    /// Which of the bias's tables each window of an image has.
    tables: Vec<usize>,
}

impl Layer {
    /// Windows of `side`, shifted by `shift`.
    pub fn new(
        weights: &Weights<'_>,
        name: &str,
        widths: &Widths,
        grid: (usize, usize),
        (side, shift): (usize, usize),
    ) -> Result<Self, LoadError> {
        let root = format!("{name}.");
        let name = |names: &[&str]| named(weights, &root, names);
        let (hidden, heads) = (widths.hidden, widths.heads);
        let projections = [
            name(&["attention.self.query", "attention.q_proj"]),
            name(&["attention.self.key", "attention.k_proj"]),
            name(&["attention.self.value", "attention.v_proj"]),
        ];
        let projections = projections.each_ref().map(|name| (name.as_str(), hidden));
        let norm = |part: &str| weights.layer_norm(&format!("{root}{part}"), hidden, widths.epsilon);
        let (up, down) = (name(&["intermediate.dense", "mlp.fc1"]), name(&["output.dense", "mlp.fc2"]));
        Ok(Self {
            windows: Windows::new(&bias(weights, &root, heads, side)?, heads, grid, (side, shift))?,
            attention: Attention::new(heads, hidden / heads),
            attention_norm: norm("layernorm_before")?,
            qkv: weights.stacked(&projections, hidden, widths.qkv_bias)?,
            output: weights.linear(&name(&["attention.output.dense", "attention.o_proj"]), hidden, hidden, true)?,
            feed_forward_norm: norm("layernorm_after")?,
            up: weights.linear(&up, hidden, widths.intermediate, true)?,
            down: weights.linear(&down, widths.intermediate, hidden, true)?,
        })
    }

    /// Images·positions × hidden, of the same shape.
    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node, activation: Activation) -> Result<Node, nn::Error> {
        let normed = self.attention_norm.forward(tape, x)?;
        let windows = self.windows.cut.forward(tape, &normed, 1)?;
        // Positions that only fill up a window have queries, keys and values as well: the projections' biases.
        let qkv = self.qkv.forward(tape, &windows)?;
        let area = self.windows.area;
        let count = qkv.rows() / area;
        let offsets: Vec<usize> = (0..=count).map(|window| window * area).collect();
        let bias = self.windows.bias.for_rows(self.windows.tables.iter().copied().cycle().take(count).collect())?;
        let (attended, _) = self.attention.forward(tape, &qkv, &offsets, Some(&bias), false)?;
        // A linear layer does not care where its rows stand: back first, so that the residual is added in its pass.
        let attended = self.windows.joined.forward(tape, &attended, 1)?;
        let x = self.output.forward_add(tape, &attended, x)?;
        let inner = self.feed_forward_norm.forward(tape, &x)?;
        let inner = self.up.forward_activated(tape, &inner, activation)?;
        self.down.forward_add(tape, &inner, &x)
    }
}

/// The scores' bias inside one window: heads × area × area.
fn bias(weights: &Weights<'_>, root: &str, heads: usize, side: usize) -> Result<Vec<f32>, LoadError> {
    let names = ["attention.self", "attention.relative_position_bias"];
    let names = names.map(|name| format!("{root}{name}.relative_position_bias_table"));
    let name = names.iter().find(|name| weights.contains(name)).unwrap_or(&names[0]);
    let table = weights.tensor(name, &[entries((side, side), false), heads])?;
    Ok(spread(&table, heads, (side, side), false))
}

impl Windows {
    fn new(
        bias: &[f32],
        heads: usize,
        (rows, cols): (usize, usize),
        (side, shift): (usize, usize),
    ) -> Result<Self, LoadError> {
        let (down, across) = (rows.div_ceil(side), cols.div_ceil(side));
        let (height, width) = (down * side, across * side);
        let (mut from, mut tables, mut table_of) = (Vec::new(), Vec::new(), Vec::new());
        let mut known: Vec<Vec<usize>> = Vec::new();
        for window in 0..down * across {
            let mut regions = Vec::with_capacity(side * side);
            for place in 0..side * side {
                let row = window / across * side + place / side;
                let col = window % across * side + place % side;
                let source = ((row + shift) % height, (col + shift) % width);
                from.push((source.0 < rows && source.1 < cols).then_some(source.0 * cols + source.1));
                regions.push(region(row, height, side, shift) * 3 + region(col, width, side, shift));
            }
            // Windows of equal regions share a table.
            let pattern: Vec<usize> = regions.iter().map(|region| usize::from(*region != regions[0])).collect();
            let pattern = if pattern.iter().all(|other| *other == 0) { pattern } else { regions };
            let table = known.iter().position(|seen| *seen == pattern).unwrap_or_else(|| {
                tables.push(masked(bias, heads, &pattern));
                known.push(pattern);
                known.len() - 1
            });
            table_of.push(table);
        }
        let cut = Arrangement::new(rows * cols, from)?;
        let bias = Bias::by_row(tables, table_of.clone())?;
        Ok(Self { joined: cut.back(), cut, area: side * side, bias, tables: table_of })
    }
}

/// Which part of the image a line of the shifted map comes from: those that the shift brought beside one another do
/// not see one another.
fn region(line: usize, length: usize, side: usize, shift: usize) -> usize {
    match shift {
        0 => 0,
        shift => usize::from(line + side >= length) + usize::from(line + shift >= length),
    }
}

/// The bias of a window whose positions lie in these regions.
fn masked(bias: &[f32], heads: usize, regions: &[usize]) -> Vec<f32> {
    let area = regions.len();
    let mut out = bias.to_vec();
    for (at, value) in out.iter_mut().enumerate().take(heads * area * area) {
        if regions[at / area % area] != regions[at % area] {
            *value += ELSEWHERE;
        }
    }
    out
}

/// Four neighbouring positions become one of twice the width.
pub struct Merging {
    four: Arrangement,
    norm: LayerNorm,
    reduction: Linear,
}

impl Merging {
    pub fn new(
        weights: &Weights<'_>,
        name: &str,
        hidden: usize,
        (rows, cols): (usize, usize),
        epsilon: f32,
    ) -> Result<Self, LoadError> {
        let places = (0..rows.div_ceil(2) * cols.div_ceil(2) * 4).map(|place| {
            let (merged, part) = (place / 4, place % 4);
            // transformers' order: down first, then across.
            let row = merged / cols.div_ceil(2) * 2 + part % 2;
            let col = merged % cols.div_ceil(2) * 2 + part / 2;
            (row < rows && col < cols).then_some(row * cols + col)
        });
        Ok(Self {
            four: Arrangement::new(rows * cols, places)?,
            norm: weights.layer_norm(&format!("{name}.norm"), 4 * hidden, epsilon)?,
            reduction: weights.linear(&format!("{name}.reduction"), 4 * hidden, 2 * hidden, false)?,
        })
    }

    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, nn::Error> {
        let x = self.four.forward(tape, x, 4)?;
        let x = self.norm.forward(tape, &x)?;
        self.reduction.forward(tape, &x)
    }
}
