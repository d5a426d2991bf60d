//! What a forward hands over while it runs.

use std::ops::Range;
use std::sync::Arc;

use super::{AttentionMap, FusedMap, Fusion, Recording, StateMap, TapPlan};
use crate::models::Prefix;
use crate::nn::{self, Array, Attention, Node, Past, Probabilities, Recall, Tape, kept, select};

/// Keeps what the plan names, in the order in which it passes by.
pub struct Recorder<'a> {
    plan: &'a TapPlan,
    heads: usize,
    /// Borders of the rows' sequences.
    offsets: Vec<usize>,
    /// Packed positions that the head reads.
    read: Vec<usize>,
    /// Of image transformers: rows and columns of the patches, and the positions before them.
    patches: Option<((usize, usize), usize)>,
    /// Hidden states that the head has yet to read.
    unread: Vec<(usize, Node)>,
    tapped: Tapped,
}

/// What was kept: nodes, whose numbers and gradients are read off at the end.
#[derive(Default)]
pub struct Tapped {
    attention: Vec<AttentionMap>,
    fused: Vec<FusedMap>,
    /// Attentions whose relevance is asked for, in the order of `fused`.
    recalls: Vec<Recall>,
    hidden: Vec<Tap>,
    activations: Vec<Tap>,
    maps: Vec<Tap>,
    lens: Vec<Tap>,
    /// Keys and values, a layer after the other, in parts.
    read: Vec<Vec<Array>>,
}

struct Tap {
    layer: usize,
    node: Node,
    /// The node's rows that each row of the batch has.
    places: Vec<Range<usize>>,
    grid: Option<(usize, usize)>,
    gradients: Vec<Vec<f32>>,
}

impl<'a> Recorder<'a> {
    /// Of rows between `offsets`, of which the head reads `read`.
    pub fn new(plan: &'a TapPlan, heads: usize, offsets: &[usize], read: &[usize]) -> Self {
        let (offsets, read) = (offsets.to_vec(), read.to_vec());
        Self { plan, heads, offsets, read, patches: None, unread: Vec::new(), tapped: Tapped::default() }
    }

    /// Of images that are no sequences.
    pub fn of_images(plan: &'a TapPlan, images: usize) -> Self {
        Self::new(plan, 0, &(0..=images).collect::<Vec<_>>(), &[])
    }

    /// Says where patches stand in a sequence.
    pub fn with_patches(self, grid: (usize, usize), before: usize) -> Self {
        Self { patches: Some((grid, before)), ..self }
    }

    fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    fn sequences(&self) -> Vec<Range<usize>> {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }

    /// Whether something is asked of the last of `layers` layers at positions that the head does not read.
    pub fn whole(&self, layers: usize) -> bool {
        let last = layers.saturating_sub(1);
        self.plan.hidden.contains(&layers) || self.plan.activations.contains(&last)
    }

    /// What enters layer `layer`: `x`, or what stands in for it.
    ///
    /// # Errors
    /// `Shape` where a replacement does not fit.
    pub fn enter(&mut self, tape: &mut Tape<'_>, layer: usize, x: Node) -> Result<Node, nn::Error> {
        self.hidden(layer, &x);
        if let Some((grid, before)) = self.patches.filter(|_| self.plan.maps.contains(&layer)) {
            let places = self.sequences().into_iter().map(|row| row.start + before..row.end).collect();
            self.tapped.maps.push(Tap::new(layer, &x, places, Some(grid)));
        }
        if self.plan.lens.contains(&layer) {
            let narrow = select(tape, &x, &self.read)?;
            self.unread.push((layer, narrow));
        }
        let states = self.plan.replace.as_ref().and_then(|replace| replace.states.get(layer)?.as_ref());
        let Some(states) = states else { return Ok(x) };
        let values = states.repeat(self.rows());
        if values.len() != x.rows() * x.cols() {
            let detail = format!("{} numbers to stand in for {} × {}", values.len(), x.rows(), x.cols());
            return Err(nn::Error::Shape { op: "tap", detail });
        }
        // A variable, so that the layers behind it can be differentiated.
        Ok(tape.variable(Array::new(values, x.rows(), x.cols())))
    }

    /// Keeps a hidden state: whole sequences.
    pub fn hidden(&mut self, layer: usize, x: &Node) {
        if self.plan.hidden.contains(&layer) {
            self.tapped.hidden.push(Tap::new(layer, x, self.sequences(), None));
        }
    }

    /// Keeps what stands between a feed-forward block's two products: whole sequences.
    pub fn activations(&mut self, layer: usize, x: &Node) {
        if self.plan.activations.contains(&layer) {
            self.tapped.activations.push(Tap::new(layer, x, self.sequences(), None));
        }
    }

    /// Keeps a feature map of `grid` positions an image.
    pub fn map(&mut self, layer: usize, x: &Node, grid: (usize, usize)) {
        if self.plan.maps.contains(&layer) {
            let size = grid.0 * grid.1;
            let places = (0..self.rows()).map(|row| row * size..(row + 1) * size).collect();
            self.tapped.maps.push(Tap::new(layer, x, places, Some(grid)));
        }
    }

    /// Keeps the keys and values that a layer's attention reads of its one row, those computed before in front.
    ///
    /// # Errors
    /// `Shape` where the columns do not fit.
    pub fn read(&mut self, attention: &Attention, qkv: &Node, past: Option<Past<'_>>) -> Result<(), nn::Error> {
        if self.plan.prefix {
            self.tapped.read.push(kept(attention, qkv, past)?);
        }
        Ok(())
    }

    fn fuses(&self, layer: usize) -> Option<Fusion> {
        self.plan.fused.as_ref().filter(|fused| fused.layers.contains(&layer)).map(|fused| fused.by)
    }

    /// Whether [`Recorder::attended`] wants the layer's probabilities.
    pub fn probabilities(&self, layer: usize) -> bool {
        self.plan.attention.contains(&layer)
    }

    /// Keeps what is asked of a layer's attention. Fused maps are made from its operands, so that the probabilities of all
    /// heads are there only where they are asked for.
    ///
    /// # Errors
    /// Those of the attention.
    pub fn attended(
        &mut self,
        layer: usize,
        probabilities: Option<Probabilities>,
        recall: impl FnOnce() -> Recall,
    ) -> Result<(), nn::Error> {
        let (heads, lengths) = (self.heads, self.sequences().into_iter().map(|row| row.len()).collect::<Vec<_>>());
        if let Some(Probabilities { values }) = probabilities {
            self.tapped.attention.push(AttentionMap { layer, heads, lengths: lengths.clone(), values });
        }
        let Some(by) = self.fuses(layer) else { return Ok(()) };
        let (recall, mut map) = (recall(), FusedMap { layer, heads, lengths, ..FusedMap::default() });
        match by {
            // Its maps come with the gradients.
            Fusion::Relevance => self.tapped.recalls.push(recall),
            Fusion::Mean | Fusion::Max | Fusion::Min => map.values.push(fuse(&recall, heads, by)?),
        }
        self.tapped.fused.push(map);
        Ok(())
    }

    /// Packed positions whose values no query gets.
    pub fn silenced(&self) -> Vec<usize> {
        let rows = self.plan.replace.iter().flat_map(|replace| &replace.silenced).zip(self.sequences());
        rows.filter_map(|(token, row)| token.map(|token| row.start + token).filter(|at| row.contains(at))).collect()
    }

    /// Lets the head read every hidden state that is to be read; the last of `layers` gave `logits`.
    ///
    /// # Errors
    /// Those of `read`, which is given the positions read.
    pub fn read_lenses(
        &mut self,
        tape: &mut Tape<'_>,
        (layers, logits): (usize, &Node),
        read: impl Fn(&mut Tape<'_>, &Node) -> Result<Node, nn::Error>,
    ) -> Result<(), nn::Error> {
        for (layer, x) in std::mem::take(&mut self.unread) {
            let logits = read(tape, &x)?;
            self.lens(layer, &logits);
        }
        if self.plan.lens.contains(&layers) {
            self.lens(layers, logits);
        }
        Ok(())
    }

    fn lens(&mut self, layer: usize, logits: &Node) {
        let own = logits.rows() / self.rows().max(1);
        let places = (0..self.rows()).map(|row| row * own..(row + 1) * own).collect();
        self.tapped.lens.push(Tap::new(layer, logits, places, None));
    }

    /// What was kept, in the plan's order.
    ///
    /// # Errors
    /// `Shape`: something that the plan names and the model has not.
    pub fn finish(self) -> Result<Tapped, nn::Error> {
        let Self { plan, mut tapped, .. } = self;
        let fused = plan.fused.as_ref().map_or(&[][..], |fused| &fused.layers);
        // Fused maps and recalls go by layer, as they were kept.
        let ascending = fused.is_sorted() || tapped.recalls.is_empty();
        ordered(&mut tapped.attention, &plan.attention, |map| map.layer, "attention")?;
        if ascending {
            ordered(&mut tapped.fused, fused, |map| map.layer, "attention")?;
        } else {
            return Err(nn::Error::Shape { op: "tap", detail: "layers of relevance that do not ascend".into() });
        }
        ordered(&mut tapped.hidden, &plan.hidden, |tap| tap.layer, "hidden states")?;
        ordered(&mut tapped.activations, &plan.activations, |tap| tap.layer, "activations")?;
        ordered(&mut tapped.maps, &plan.maps, |tap| tap.layer, "a feature map")?;
        ordered(&mut tapped.lens, &plan.lens, |tap| tap.layer, "an answer")?;
        Ok(tapped)
    }
}

/// Puts `found` into the plan's order.
fn ordered<T>(
    found: &mut [T],
    plan: &[usize],
    layer: impl Fn(&T) -> usize,
    what: &'static str,
) -> Result<(), nn::Error> {
    if let Some(missing) = plan.iter().find(|wanted| !found.iter().any(|found| layer(found) == **wanted)) {
        let detail = format!("the model does not give {what} of layer {missing}");
        return Err(nn::Error::Shape { op: "tap", detail });
    }
    found.sort_by_key(|found| plan.iter().position(|wanted| *wanted == layer(found)));
    Ok(())
}

/// The heads of every row as one map.
fn fuse(recall: &Recall, heads: usize, by: Fusion) -> Result<Vec<f32>, nn::Error> {
    match by {
        Fusion::Max => recall.folded(f32::max),
        Fusion::Min => recall.folded(f32::min),
        Fusion::Mean | Fusion::Relevance => {
            let mut map = recall.folded(|sum, next| sum + next)?;
            map.iter_mut().for_each(|entry| *entry /= heads as f32);
            Ok(map)
        }
    }
}

impl Tap {
    fn new(layer: usize, node: &Node, places: Vec<Range<usize>>, grid: Option<(usize, usize)>) -> Self {
        Self { layer, node: node.clone(), places, grid, gradients: Vec::new() }
    }

    /// The places' numbers out of all of the node's.
    fn gather(&self, numbers: &[f32]) -> Vec<f32> {
        let width = self.node.cols();
        self.places.iter().flat_map(|place| &numbers[place.start * width..place.end * width]).copied().collect()
    }

    fn record(self) -> Result<StateMap, nn::Error> {
        Ok(StateMap {
            layer: self.layer,
            width: self.node.cols(),
            lengths: self.places.iter().map(ExactSizeIterator::len).collect(),
            grid: self.grid,
            values: self.gather(self.node.numbers()?),
            gradients: self.gradients,
        })
    }
}

impl Tapped {
    /// Lets the head read what stands where it was to be read: hidden states; the last of `layers` gave `logits`.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read_lenses(
        &mut self,
        (layers, logits): (usize, &Node),
        mut read: impl FnMut(&Node) -> Result<Node, nn::Error>,
    ) -> Result<(), nn::Error> {
        for tap in &mut self.lens {
            tap.node = if tap.layer == layers { logits.clone() } else { read(&tap.node)? };
        }
        Ok(())
    }

    /// Adds the gradients of Σ seed · `of` at everything kept, in one walk back.
    ///
    /// # Errors
    /// Those of [`Tape::gradients`].
    pub fn differentiate(&mut self, tape: &Tape<'_>, of: &Node, seed: &[f32]) -> Result<(), nn::Error> {
        let Self { recalls, hidden, activations, maps, lens, .. } = self;
        let mut taps: Vec<&mut Tap> =
            [hidden, activations, maps, lens].into_iter().flat_map(|taps| taps.iter_mut()).collect();
        let nodes: Vec<&Node> =
            taps.iter().map(|tap| &tap.node).chain(recalls.iter().map(|recall| recall.node())).collect();
        let mut found = tape.gradients(of, seed, &nodes)?;
        let at_attention = found.split_off(taps.len());
        for (tap, gradient) in taps.iter_mut().zip(&found) {
            let own = tap.gather(gradient);
            tap.gradients.push(own);
        }
        for ((recall, map), gradient) in self.recalls.iter().zip(&mut self.fused).zip(&at_attention) {
            tape.step()?;
            let (values, importance) = recall.relevance(gradient)?;
            map.values.push(values);
            map.importance.push(importance);
        }
        Ok(())
    }

    /// # Errors
    /// `Device`, where numbers cannot be had from there.
    pub fn record(self) -> Result<Recording, nn::Error> {
        let states = |taps: Vec<Tap>| taps.into_iter().map(Tap::record).collect::<Result<Vec<_>, _>>();
        Ok(Recording {
            attention: self.attention,
            fused: self.fused,
            hidden: states(self.hidden)?,
            activations: states(self.activations)?,
            maps: states(self.maps)?,
            lens: states(self.lens)?,
            likeliest: Vec::new(),
            prefix: self
                .read
                .first()
                .map(|parts| parts.iter().map(Array::rows).sum())
                .map(|tokens| Arc::new(Prefix { tokens, layers: self.read })),
        })
    }
}
