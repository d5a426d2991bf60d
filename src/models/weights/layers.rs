//! Layers of `nn` made of tensors. Matrices and tables of half precision stay as the file has them.

use std::sync::Arc;

use super::Weights;
use super::file::Numbers;
use crate::models::LoadError;
use crate::nn::{Embedding, LayerNorm, Linear, Narrow, RmsNorm, Stored, StoredRows, Table};

impl Weights<'_> {
    /// `{name}.weight`, entries × width. The table stays in its file where that is immutable and holds numbers that can
    /// be used as they are: a text reads few of its entries.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn embedding(&self, name: &str, entries: usize, width: usize) -> Result<Embedding, LoadError> {
        let (name, shape) = (format!("{name}.weight"), [entries, width]);
        let table = match self.as_it_is(&name, &shape)? {
            Some(Numbers::F32) => self.shared(&name, &shape, Table::F32)?,
            Some(Numbers::Narrow(kind)) => match self.shared(&name, &shape, |bits| Table::Narrow(kind, bits))? {
                None => {
                    let mut bits = Vec::new();
                    self.append_narrow(&name, &shape, kind, &mut bits)?;
                    self.keeps::<u16>(bits.len());
                    Some(Table::Narrow(kind, Arc::new(bits)))
                }
                shared => shared,
            },
            Some(Numbers::Stored(kind)) => Some(Table::Stored(self.stored(&name, &shape, kind)?)),
            _ => None,
        };
        let table = match table {
            Some(table) => table,
            None => Table::F32(Arc::new(self.tensor(&name, &shape)?)),
        };
        Ok(Embedding::new(table, width)?)
    }

    /// The same, every number times `factor`.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn scaled_embedding(
        &self,
        name: &str,
        entries: usize,
        width: usize,
        factor: f32,
    ) -> Result<Embedding, LoadError> {
        Ok(self.embedding(name, entries, width)?.scaled(factor))
    }

    /// What a tensor's numbers are stored as, unless others stand in for them.
    fn as_it_is(&self, name: &str, shape: &[usize]) -> Result<Option<Numbers>, LoadError> {
        let (_, entry) = self.find(name, shape)?;
        Ok(self.random(name).is_none().then_some(entry.numbers))
    }

    /// The table that a tensor is where it stands, if the file can be used so.
    fn shared<T: bytemuck::AnyBitPattern + Send + Sync>(
        &self,
        name: &str,
        shape: &[usize],
        table: impl FnOnce(Arc<dyn AsRef<[T]> + Send + Sync>) -> Table,
    ) -> Result<Option<Table>, LoadError> {
        let (file, entry) = self.find(name, shape)?;
        let Some(shared) = file.bytes.shared::<T>(entry.place.clone()) else { return Ok(None) };
        file.check_in_place(name, entry)?;
        self.keeps::<T>(entry.place.len() / size_of::<T>());
        Ok(Some(table(Arc::new(shared))))
    }

    /// Puts the bits of a tensor behind what `bits` holds.
    fn append_narrow(&self, name: &str, shape: &[usize], kind: Narrow, bits: &mut Vec<u16>) -> Result<(), LoadError> {
        let (file, entry) = self.find(name, shape)?;
        let start = bits.len();
        file.read_narrow(entry, bits).map_err(|detail| file.unreadable(name, &detail))?;
        file.check_narrow(name, kind, &bits[start..])
    }

    /// A matrix's rows as they are stored.
    fn stored(&self, name: &str, shape: &[usize], kind: Stored) -> Result<StoredRows, LoadError> {
        let (file, entry) = self.find(name, shape)?;
        let rows = file.rows(entry, kind).map_err(|detail| file.unreadable(name, &detail))?;
        file.check_rows(name, &rows)?;
        self.keeps_in(shape.iter().product(), entry.place.len());
        Ok(rows)
    }

    /// How each of `parts` is stored, if one of them is quantised: the others are read beside it.
    fn kinds(&self, parts: &[(&str, [usize; 2])]) -> Result<Option<Vec<Stored>>, LoadError> {
        let kinds = parts.iter().map(|(name, shape)| self.as_it_is(name, shape)).collect::<Result<Vec<_>, _>>()?;
        let kinds: Option<Vec<Stored>> = kinds.into_iter().map(|numbers| numbers?.blocks()).collect();
        Ok(kinds.filter(|kinds| kinds.iter().any(|kind| kind.quantised())))
    }

    /// How all of `parts` are stored, if that is one way and in two bytes a number.
    fn narrow(&self, parts: &[(&str, [usize; 2])]) -> Result<Option<Narrow>, LoadError> {
        let mut common = None;
        for (name, shape) in parts {
            match (self.as_it_is(name, shape)?, common) {
                (Some(Numbers::Narrow(kind)), None) => common = Some(kind),
                (Some(Numbers::Narrow(kind)), Some(known)) if kind == known => {}
                _ => return Ok(None),
            }
        }
        Ok(common)
    }

    /// Biases one behind the other; `None` of none.
    fn bias(&self, parts: &[(&str, usize)]) -> Result<Option<Vec<f32>>, LoadError> {
        let mut biases = (!parts.is_empty()).then(Vec::new);
        for (name, outputs) in parts {
            biases.get_or_insert_default().extend(self.tensor(name, &[*outputs])?);
        }
        Ok(biases)
    }

    /// A layer whose weight is matrices of outputs × inputs one below the other.
    fn layer(
        &self,
        parts: &[(&str, [usize; 2])],
        biases: &[(&str, usize)],
        (inputs, outputs): (usize, usize),
    ) -> Result<Linear, LoadError> {
        if let Some(kind) = self.narrow(parts)? {
            let mut bits = self.narrow_room.borrow_mut();
            bits.clear();
            for (name, shape) in parts {
                self.append_narrow(name, shape, kind, &mut bits)?;
            }
            self.keeps::<u16>(bits.len());
            return Ok(Linear::narrow((bits.as_slice(), kind), self.bias(biases)?, inputs, outputs)?);
        }
        if let Some(kinds) = self.kinds(parts)? {
            let rows = parts.iter().zip(kinds).map(|((name, shape), kind)| self.stored(name, shape, kind));
            return Ok(Linear::stored(rows.collect::<Result<_, _>>()?, self.bias(biases)?, inputs, outputs)?);
        }
        let mut numbers = self.room.borrow_mut();
        numbers.clear();
        for (name, shape) in parts {
            self.append(name, shape, &mut numbers)?;
        }
        self.keeps::<f32>(numbers.len());
        Ok(Linear::new(numbers.as_slice(), self.bias(biases)?, inputs, outputs)?)
    }

    /// `{prefix}.weight` and `.bias` of a `Conv1D` of transformers: a linear layer whose weight is stored inputs ×
    /// outputs.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn conv1d(&self, prefix: &str, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        let (name, shape) = (format!("{prefix}.weight"), [inputs, outputs]);
        let bias = || self.bias(&[(format!("{prefix}.bias").as_str(), outputs)]);
        if let Some(kind) = self.narrow(&[(name.as_str(), shape)])? {
            let (mut stored, mut turned) = (Vec::new(), self.narrow_room.borrow_mut());
            self.append_narrow(&name, &shape, kind, &mut stored)?;
            self.keeps::<u16>(stored.len());
            turn(&stored, outputs, &mut turned);
            return Ok(Linear::narrow((turned.as_slice(), kind), bias()?, inputs, outputs)?);
        }
        let (mut stored, mut turned) = (Vec::new(), self.room.borrow_mut());
        self.append(&name, &shape, &mut stored)?;
        self.keeps::<f32>(stored.len());
        turn(&stored, outputs, &mut turned);
        Ok(Linear::new(turned.as_slice(), bias()?, inputs, outputs)?)
    }

    /// `{prefix}.weight` and, if `bias`, `{prefix}.bias`.
    pub fn linear(&self, prefix: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear, LoadError> {
        self.stacked(&[(prefix, outputs)], inputs, bias)
    }

    /// A layer whose weight and bias have names of their own.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn linear_of(&self, weight: &str, bias: &str, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        self.layer(&[(weight, [outputs, inputs])], &[(bias, outputs)], (inputs, outputs))
    }

    /// Layers over the same input as one whose outputs stand side by side: their names, and how many each has.
    pub fn stacked(&self, parts: &[(&str, usize)], inputs: usize, bias: bool) -> Result<Linear, LoadError> {
        let names = |part: &str| parts.iter().map(|(prefix, _)| format!("{prefix}.{part}")).collect::<Vec<_>>();
        let (weights, biases) = (names("weight"), names("bias"));
        let sizes = || parts.iter().map(|(_, outputs)| *outputs);
        let weights: Vec<_> =
            weights.iter().zip(sizes()).map(|(name, outputs)| (name.as_str(), [outputs, inputs])).collect();
        let biases: Vec<_> = biases.iter().map(String::as_str).zip(sizes()).filter(|_| bias).collect();
        self.layer(&weights, &biases, (inputs, sizes().sum()))
    }

    /// `{prefix}.weight` and `.bias`, or `.gamma` and `.beta` as checkpoints made from TensorFlow have them.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn layer_norm(&self, prefix: &str, width: usize, epsilon: f32) -> Result<LayerNorm, LoadError> {
        let old = self.contains(&format!("{prefix}.gamma"));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let weight = self.tensor(&format!("{prefix}.{weight}"), &[width])?;
        let bias = self.tensor(&format!("{prefix}.{bias}"), &[width])?;
        Ok(LayerNorm::new(weight, bias, epsilon)?)
    }

    /// `{prefix}.weight` alone: a layer norm that adds nothing.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn layer_norm_unbiased(&self, prefix: &str, width: usize, epsilon: f32) -> Result<LayerNorm, LoadError> {
        let weight = self.tensor(&format!("{prefix}.weight"), &[width])?;
        Ok(LayerNorm::new(weight, vec![0.0; width], epsilon)?)
    }

    /// `{prefix}.weight`, with what the family adds to it.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn rms_norm(&self, prefix: &str, width: usize, epsilon: f32, offset: f32) -> Result<RmsNorm, LoadError> {
        let weight = self.tensor(&format!("{prefix}.weight"), &[width])?;
        Ok(RmsNorm::new(weight, epsilon, offset)?)
    }
}

/// A matrix of rows of `cols` numbers, transposed, in place of what `to` held.
fn turn<T: Copy>(stored: &[T], cols: usize, to: &mut Vec<T>) {
    to.clear();
    to.extend((0..cols).flat_map(|col| stored.iter().skip(col).step_by(cols)));
}
