//! One file of tensors: where each stands, what its numbers are stored as, and how they are read.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::first_line;
use crate::hub::FileBytes;
use crate::models::LoadError;
use crate::models::gguf::{self, Change, Header, tensors};
use crate::nn::{Narrow, Stored, StoredRows};

/// Bytes of the number that a safetensors file begins with: the length of its header.
const LENGTH: usize = 8;
/// The longest header that the format allows.
const LONGEST_HEADER: usize = 100_000_000;
/// Numbers looked at together where a table that stays in its file is checked.
const CHUNK: usize = 1 << 18;

pub(super) struct WeightsFile<'a> {
    pub name: &'a str,
    pub bytes: &'a FileBytes,
    pub tensors: HashMap<String, Entry>,
}

/// A tensor of a file.
pub(super) struct Entry {
    pub numbers: Numbers,
    pub shape: Vec<usize>,
    /// In the file.
    pub place: Range<usize>,
    /// What is to be done to the numbers to have those that families know.
    pub change: Change,
}

impl Entry {
    /// Numbers of a row.
    fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }
}

/// What a tensor's numbers are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    F32,
    Narrow(Narrow),
    /// Blocks that share scales.
    Stored(Stored),
    /// Converted by candle, if it can.
    Other(Dtype),
}

impl Numbers {
    fn of(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::BF16 => Self::Narrow(Narrow::Bf16),
            Dtype::F16 => Self::Narrow(Narrow::F16),
            other => Self::Other(other),
        }
    }

    fn stored(kind: Stored) -> Self {
        match kind {
            Stored::F32 => Self::F32,
            Stored::Bf16 => Self::Narrow(Narrow::Bf16),
            Stored::F16 => Self::Narrow(Narrow::F16),
            blocks => Self::Stored(blocks),
        }
    }

    /// As blocks, if that is what they can be read as.
    pub fn blocks(self) -> Option<Stored> {
        match self {
            Self::F32 => Some(Stored::F32),
            Self::Narrow(Narrow::Bf16) => Some(Stored::Bf16),
            Self::Narrow(Narrow::F16) => Some(Stored::F16),
            Self::Stored(kind) => Some(kind),
            Self::Other(_) => None,
        }
    }

    /// Whether they may have fractions, as weights have.
    pub fn have_fractions(self) -> bool {
        matches!(self, Self::F32 | Self::Narrow(_) | Self::Stored(_) | Self::Other(Dtype::F64))
    }
}

impl<'a> WeightsFile<'a> {
    /// Reads the header of a safetensors file.
    ///
    /// # Errors
    /// It is none, or is cut short.
    pub fn safetensors(name: &'a str, bytes: &'a FileBytes) -> Result<Self, String> {
        let mut length = [0; LENGTH];
        bytes.read(0, &mut length).map_err(|error| error.to_string())?;
        let length = usize::try_from(u64::from_le_bytes(length)).ok().filter(|&length| length <= LONGEST_HEADER);
        let length = length.ok_or("its header is too long")?;
        let start = LENGTH + length;
        let text = bytes.range(LENGTH..start).map_err(|error| error.to_string())?;
        let header: Metadata = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        let end = start.checked_add(header.data_len());
        if end != Some(bytes.len()) {
            return Err(format!("{} bytes where its header promises {}", bytes.len(), end.unwrap_or(usize::MAX)));
        }
        let entry = |name: String| {
            let info = header.info(&name)?;
            let place = start + info.data_offsets.0..start + info.data_offsets.1;
            let (numbers, shape) = (Numbers::of(info.dtype), info.shape.clone());
            let entry = Entry { numbers, shape, place, change: Change::Nothing };
            Some((name, entry))
        };
        Ok(Self { name, bytes, tensors: header.offset_keys().into_iter().filter_map(entry).collect() })
    }

    /// Reads the description of a GGUF file.
    ///
    /// # Errors
    /// It is none, or is cut short.
    pub fn gguf(name: &'a str, bytes: &'a FileBytes) -> Result<Self, String> {
        let entry = |(name, tensor, change): (String, gguf::Tensor, Change)| {
            let (numbers, shape, place) = (Numbers::stored(tensor.stored), tensor.shape, tensor.place);
            (name, Entry { numbers, shape, place, change })
        };
        Ok(Self { name, bytes, tensors: tensors(&Header::read(bytes)?).into_iter().map(entry).collect() })
    }

    /// Puts a tensor's numbers behind what `values` holds.
    pub fn read(&self, entry: &Entry, values: &mut Vec<f32>) -> Result<(), String> {
        let start = values.len();
        self.read_as_they_are(entry, values)?;
        let own = &mut values[start..];
        entry.change.undo(own, entry.width());
        if entry.change == Change::MinusOne {
            own.iter_mut().for_each(|value| *value -= 1.0);
        }
        Ok(())
    }

    fn read_as_they_are(&self, entry: &Entry, values: &mut Vec<f32>) -> Result<(), String> {
        let place = entry.place.clone();
        let start = values.len();
        if entry.numbers == Numbers::F32 && cfg!(target_endian = "little") {
            let count = place.len() / size_of::<f32>();
            values.reserve_exact(count);
            values.resize(start + count, 0.0);
            let to = bytemuck::cast_slice_mut(&mut values[start..]);
            return self.bytes.read(place.start, to).map_err(|error| error.to_string());
        }
        let bytes = self.bytes.range(place).map_err(|error| error.to_string())?;
        let dtype = match entry.numbers {
            Numbers::Narrow(kind) => {
                values.resize(start + bytes.len() / size_of::<u16>(), 0.0);
                widen(&bytes, &mut values[start..], kind);
                return Ok(());
            }
            Numbers::Stored(kind) => {
                values.resize(start + bytes.len() / kind.bytes() * kind.numbers(), 0.0);
                read_blocks(kind, &bytes, &mut values[start..]);
                return Ok(());
            }
            Numbers::F32 => Dtype::F32,
            Numbers::Other(other) => other,
        };
        values.extend(
            DType::try_from(dtype)
                .and_then(|dtype| Tensor::from_raw_buffer(&bytes, dtype, &entry.shape, &Device::Cpu))
                .and_then(|tensor| tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>())
                .map_err(|error| first_line(&error))?,
        );
        Ok(())
    }

    /// Puts the bits of a tensor of two bytes a number behind what `bits` holds.
    pub fn read_narrow(&self, entry: &Entry, bits: &mut Vec<u16>) -> Result<(), String> {
        let (place, start) = (entry.place.clone(), bits.len());
        let count = place.len() / size_of::<u16>();
        bits.reserve_exact(count);
        bits.resize(start + count, 0);
        let own = &mut bits[start..];
        self.bytes.read(place.start, bytemuck::cast_slice_mut(own)).map_err(|error| error.to_string())?;
        own.iter_mut().for_each(|bits| *bits = u16::from_le(*bits));
        entry.change.undo(own, entry.width());
        Ok(())
    }

    /// A matrix's rows as they are stored: where they stand, or read.
    pub fn rows(&self, entry: &Entry, kind: Stored) -> Result<StoredRows, String> {
        let rows = entry.shape.first().copied().unwrap_or(0);
        if entry.change == Change::Nothing
            && let Some(shared) = self.bytes.shared::<u8>(entry.place.clone())
        {
            return Ok(StoredRows { kind, rows, bytes: Arc::new(shared) });
        }
        let mut bytes = self.bytes.range(entry.place.clone()).map_err(|error| error.to_string())?.into_owned();
        entry.change.undo(&mut bytes, entry.place.len() / rows.max(1));
        Ok(StoredRows { kind, rows, bytes: Arc::new(bytes) })
    }

    /// Checks the numbers of stored rows, some at a time.
    ///
    /// # Errors
    /// As [`WeightsFile::check`].
    pub fn check_rows(&self, name: &str, rows: &StoredRows) -> Result<(), LoadError> {
        let bytes = (*rows.bytes).as_ref();
        let chunk = CHUNK / rows.kind.numbers() * rows.kind.bytes();
        let finite = bytes.par_chunks(chunk).all(|blocks| {
            let mut numbers = vec![0.0; blocks.len() / rows.kind.bytes() * rows.kind.numbers()];
            rows.kind.widen(blocks, &mut numbers);
            numbers.iter().fold(true, |all, number| all & number.is_finite())
        });
        self.all_finite(name, finite)
    }

    pub fn unreadable(&self, name: &str, detail: &str) -> LoadError {
        LoadError::Weights { file: self.name.into(), detail: format!("tensor \"{name}\" cannot be read ({detail})") }
    }

    /// # Errors
    /// Numbers that are not finite.
    pub fn check(&self, name: &str, values: &[f32]) -> Result<(), LoadError> {
        // Every number is looked at, so that the loop has no early end and becomes vectors.
        self.all_finite(name, values.iter().fold(true, |all, value| all & value.is_finite()))
    }

    /// # Errors
    /// As [`WeightsFile::check`].
    pub fn check_narrow(&self, name: &str, kind: Narrow, bits: &[u16]) -> Result<(), LoadError> {
        self.all_finite(name, kind.finite(bits))
    }

    fn all_finite(&self, name: &str, finite: bool) -> Result<(), LoadError> {
        if finite {
            return Ok(());
        }
        let detail = format!("tensor \"{name}\" holds values that are not finite");
        Err(LoadError::Weights { file: self.name.into(), detail })
    }

    /// Checks numbers that stay in the file. They are read beside their map, whose pages would otherwise all come in.
    ///
    /// # Errors
    /// As [`WeightsFile::check`].
    pub fn check_in_place(&self, name: &str, entry: &Entry) -> Result<(), LoadError> {
        let width = match entry.numbers {
            Numbers::Narrow(_) => size_of::<u16>(),
            _ => size_of::<f32>(),
        };
        let mut room = vec![0.0_f32; CHUNK];
        for first in entry.place.clone().step_by(CHUNK * width) {
            let len = (entry.place.end - first).min(CHUNK * width) / width;
            let part: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut room)[..len * width];
            self.bytes.read(first, part).map_err(|error| self.unreadable(name, &error.to_string()))?;
            match entry.numbers {
                Numbers::Narrow(kind) => {
                    self.check_narrow(name, kind, &bytemuck::cast_slice::<f32, u16>(&room)[..len])?;
                }
                _ => self.check(name, &room[..len])?,
            }
        }
        Ok(())
    }
}

fn read_blocks(kind: Stored, blocks: &[u8], values: &mut [f32]) {
    let chunk = CHUNK / kind.numbers();
    values
        .par_chunks_mut(chunk * kind.numbers())
        .zip(blocks.par_chunks(chunk * kind.bytes()))
        .for_each(|(values, blocks)| kind.widen(blocks, values));
}

/// Numbers of two bytes, little end first. candle would pass over memory three times.
fn widen(bytes: &[u8], values: &mut [f32], kind: Narrow) {
    values.par_chunks_mut(CHUNK).zip(bytes.par_chunks(2 * CHUNK)).for_each(|(values, bytes)| {
        let (pairs, _) = bytes.as_chunks::<2>();
        let bits: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        kind.widen(&bits, values);
    });
}
